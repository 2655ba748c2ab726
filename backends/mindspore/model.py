"""A network as the core handles it: created from a spec, filled with canonical weights, read back."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from itertools import chain
from pathlib import Path
from typing import Any

import mindspore
import numpy as np
from mindspore import Tensor

from backends.mindspore.models import FAMILIES
from backends.mindspore.native_weights import NAMES
from repro.arrays import Arrays
from repro.errors import ReproError
from repro.files import user_cache
from repro.interface.module_outputs import Images, input_arrays, output_tensors
from repro.interface.threads import pinned, some_cores
from repro.specs import Spec, find_spec
from repro.weights.strict import check_weights

GRAPHS_KEPT = 32  # in the user's cache, of 1 to 10 MB each
CODE = ("backends/mindspore", "repro/interface", "repro/specs")  # what the graph of a training step is compiled from
MASK_SUFFIX = ".mask"  # ends the names of parameters that hold a dropout mask and not a weight


def create_model(model: str | Spec, *, num_classes: int = 1000, in_channels: int = 3, **options: object) -> Any:
    """Return a plain nn.Cell with the attribute `spec`, holding MindSpore's own random weights.

    model: the name of a variant, with the options of its family, or a spec, which has its options already. The initial
    weights of the paper are in repro.weights.init. Raises ReproError for an unknown name or an impossible setting.
    """
    spec = find_spec(model, num_classes=num_classes, in_channels=in_channels, **options)
    return FAMILIES[type(spec)](spec)


def load_weights(model: Any, arrays: Mapping[str, np.ndarray]) -> None:
    """Copy canonical weights into the model. Raises ReproError, and changes nothing, unless all of them fit."""
    check_weights(arrays, model.spec)
    parameters = model.parameters_dict()
    for name, array in NAMES.to_native(arrays, model.spec.weights).items():
        parameters[name].set_data(Tensor(array.astype(np.float32)))


def export_weights(model: Any) -> Arrays:
    """Return copies of the model's weights under their canonical names."""
    parameters = model.parameters_dict().items()
    arrays = {name: value.asnumpy().copy() for name, value in parameters if not name.endswith(MASK_SUFFIX)}
    return NAMES.to_canonical(arrays, model.spec.weights)


def to_float64(make: Callable[[], Any]) -> Any:
    """Raise ReproError: MindSpore cannot run these networks in float64."""
    raise ReproError("mindspore has no float64 convolution or batch normalisation on the CPU")


def truncate(model: Any, spec: Spec) -> None:
    """Give the model's parameters the shapes of another spec with the same names, and that spec. It cannot run then."""
    shapes = NAMES.native_shapes(spec.weights)
    for parameter in model.trainable_params():
        parameter.set_data(Tensor(np.empty(shapes[parameter.name], np.float32)), slice_shape=True)
    model.spec = spec


@contextmanager
def execution_mode(mode: int, hooks: Iterable[Any] = ()) -> Iterator[None]:
    """Run the block in GRAPH_MODE or PYNATIVE_MODE (eager), and restore the user's global settings afterwards.

    hooks: handles that are removed afterwards.
    """
    previous = {name: mindspore.get_context(name) for name in ("mode", "pynative_synchronize", "max_call_depth")}
    # asynchronous calls would busy-wait ten times as long as they compute; a training step of DenseNet-121 nests more
    # than 1,000 calls; threads of the eager mode busy-wait for each other, which takes no longer on a shared core, and
    # leaves the other cores to other processes
    mindspore.set_context(mode=mode, pynative_synchronize=True, max_call_depth=100_000)
    with pinned(some_cores(1)) if mode == mindspore.PYNATIVE_MODE else nullcontext():
        try:
            yield
        finally:
            mindspore.set_context(**previous)
            for handle in hooks:
                handle.remove()


@contextmanager
def cached_graph(*key: object) -> Iterator[None]:
    """Take the graph that is compiled in the block from the user's cache, or keep it there for the next process.

    MindSpore checks neither the shapes of a cached graph nor the numbers in it, so that it lies in a folder of its own
    for everything that it depends on: the code and `key`. And it finds it by its number among the cached graphs of a
    process, so that only the first one is cached. MS_COMPILER_CACHE_ENABLE in the environment wins.
    """
    base = user_cache("mindspore")
    if "MS_COMPILER_CACHE_ENABLE" in os.environ or not _make_folder(base):
        yield
        return
    folder = base / _graph_digest(key)
    fresh = None if folder.is_dir() else Path(tempfile.mkdtemp(dir=base))
    os.environ |= {"MS_COMPILER_CACHE_ENABLE": "1", "MS_COMPILER_CACHE_PATH": str(fresh or folder)}
    try:
        yield
        if fresh and not folder.exists():  # another process may have been quicker
            fresh.rename(folder)
    finally:
        os.environ["MS_COMPILER_CACHE_ENABLE"] = "0"  # for all other graphs of this process
        if fresh:
            shutil.rmtree(fresh, ignore_errors=True)
        with suppress(OSError):  # another process may remove them, too
            for path in sorted(base.iterdir(), key=lambda path: path.stat().st_mtime)[:-GRAPHS_KEPT]:
                shutil.rmtree(path, ignore_errors=True)


def _make_folder(path: Path) -> bool:
    """Return whether there is a folder at the path now, in which files can be made."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(path, os.W_OK)


def _graph_digest(key: tuple[object, ...]) -> str:
    """Return a digest of the code, of MindSpore's version and of what else a graph depends on."""
    root = Path(__file__).resolve().parents[2]
    device = mindspore.get_context("device_target")
    digest = hashlib.sha256(f"{mindspore.__version__} {device} {key!r}".encode())
    for path in chain.from_iterable(sorted((root / folder).rglob("*.py")) for folder in CODE):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def run_eagerly(model: Any, images: Images, hooks: Iterable[Any], *, train: bool = False) -> Arrays:
    """Return the outputs in evaluation or training mode, and remove the hooks, which graphs do not support."""
    with execution_mode(mindspore.PYNATIVE_MODE, hooks):
        model.set_train(train)
        return {name: value.asnumpy() for name, value in outputs_of(model, map(Tensor, input_arrays(images))).items()}


def outputs_of(model: Any, inputs: Iterable[Tensor]) -> dict[str, Tensor]:
    """Return the tensors in what the model returns for its inputs, by name."""
    return output_tensors(model(*inputs), lambda value: isinstance(value, Tensor))
