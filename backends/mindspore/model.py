"""A network as the core handles it: created from a spec, filled with canonical weights, read back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import Any

import mindspore
import numpy as np
from mindspore import Tensor, ops

from backends.mindspore.models import FAMILIES
from backends.mindspore.native_weights import NAMES
from repro.arrays import Arrays
from repro.errors import ReproError
from repro.interface.module_outputs import Images, input_arrays, output_tensors
from repro.interface.threads import pinned, some_cores, threads_in_environment
from repro.specs import Spec, find_spec
from repro.weights.strict import check_weights

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


@cache
def plan_for_threads() -> None:
    """Let MindSpore start its threads and plan convolutions for the number in OMP_NUM_THREADS, which it does not read.

    It does so at its first operators in a process, for the cores that it may use then. Another plan adds in another
    order: results must not depend on what is computed first, such as a step in the eager mode, which has one core.
    """
    threads = threads_in_environment()
    with pinned(some_cores(threads)) if threads else nullcontext():
        ones = Tensor(np.ones((2, 2), np.float32))
        ops.matmul(ones, ones).asnumpy()


@contextmanager
def execution_mode(mode: int, hooks: Iterable[Any] = ()) -> Iterator[None]:
    """Run the block in GRAPH_MODE or PYNATIVE_MODE (eager), and restore the user's global settings afterwards.

    hooks: handles that are removed afterwards.
    """
    plan_for_threads()
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


def run_eagerly(model: Any, images: Images, hooks: Iterable[Any], *, train: bool = False) -> Arrays:
    """Return the outputs in evaluation or training mode, and remove the hooks, which graphs do not support."""
    with execution_mode(mindspore.PYNATIVE_MODE, hooks):
        model.set_train(train)
        return {name: value.asnumpy() for name, value in outputs_of(model, map(Tensor, input_arrays(images))).items()}


def outputs_of(model: Any, inputs: Iterable[Tensor]) -> dict[str, Tensor]:
    """Return the tensors in what the model returns for its inputs, by name."""
    return output_tensors(model(*inputs), lambda value: isinstance(value, Tensor))
