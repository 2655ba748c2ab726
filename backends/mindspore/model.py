"""A model as the core sees it: made from a spec, filled with canonical weights, looked into while it runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import NoneType
from typing import Any

import mindspore
import numpy as np
from mindspore import Parameter, Tensor, nn

from backends.mindspore.layers import Dropout
from backends.mindspore.models import FAMILIES
from backends.mindspore.native_weights import NAMES
from repro.arrays import Arrays
from repro.errors import ReproError
from repro.interface.contract import DropoutSource
from repro.interface.module_outputs import first_output, unique_name
from repro.specs import Spec, find_spec
from repro.weights.describe import FrameworkArray, describe_user_model
from repro.weights.strict import check_weights

KEPT = ".kept"  # ends the names of parameters that are no weights
TYPES: dict[str, tuple[type, ...]] = {
    "conv": (nn.Conv2d, nn.Conv3d),  # nn.Conv1d's weights have an axis more
    "norm": (nn.layer.normalization._BatchNorm, nn.GroupNorm, nn.LayerNorm),
    "linear": (nn.Dense,),
}


@contextmanager
def mode(value: int, hooks: Iterable[Any] = ()) -> Iterator[None]:
    """MindSpore's graph or eager mode for a while; it is global, and belongs to the user. hooks: removed afterwards."""
    before = {name: mindspore.get_context(name) for name in ("mode", "pynative_synchronize", "max_call_depth")}
    # what is put off is waited for in loops, for ten times as long as it takes; a training step of DenseNet-121 is more
    # than 1,000 calls deep
    mindspore.set_context(mode=value, pynative_synchronize=True, max_call_depth=100_000)
    with on_one_core() if value == mindspore.PYNATIVE_MODE else nullcontext():
        try:
            yield
        finally:
            mindspore.set_context(**before)
            for handle in hooks:
                handle.remove()


@contextmanager
def on_one_core() -> Iterator[None]:
    """All threads of this process, as far as the system lets them be moved. Those of the eager mode wait for each other
    in loops: on a core that they share it takes as long, and none is kept from others. No setting of MindSpore 2.8
    does that."""
    tasks = Path("/proc/self/task")
    if not tasks.is_dir():  # not Linux
        yield
        return
    cores = os.sched_getaffinity(0)
    chosen = sorted(cores)[os.getpid() % len(cores)]  # not the same one in every process

    def move(to: set[int]) -> None:
        for thread in tasks.iterdir():
            with suppress(ProcessLookupError):  # it has ended
                os.sched_setaffinity(int(thread.name), to)

    move({chosen})
    try:
        yield
    finally:
        move(cores)


def create_model(model: str | Spec, *, num_classes: int = 1000, in_channels: int = 3, **options: object) -> Any:
    """Return a plain nn.Cell with the attribute `spec`, holding MindSpore's own random weights.

    model: the name of a variant, with the options of its family, or a spec, which has its options already. The initial
    weights of the paper are in repro.weights.init. Raises ReproError for an unknown name or an impossible setting.
    """
    spec = find_spec(model, num_classes=num_classes, in_channels=in_channels, **options)
    return FAMILIES[type(spec)](spec)


def _type(cell: Any) -> str:
    """conv, norm, linear, or nothing for another layer."""
    return next((name for name, types in TYPES.items() if isinstance(cell, types)), "")


def _arrays_of(model: nn.Cell) -> Iterator[FrameworkArray]:
    seen: set[int] = set()
    for path, cell in model.cells_and_names():
        for leaf, value in cell._params.items():
            if value is not None and id(value) not in seen:
                seen.add(id(value))
                yield FrameworkArray(path, _type(cell), leaf, value.name, value.shape, getattr(cell, "group", 1), True)


def wrap_user_model(model: Any, title: str) -> Any:
    """A model that is not ours, with a `spec` of its weights and one tensor as its output."""
    if not isinstance(model, nn.Cell):
        raise ReproError(f"{title} is a {type(model).__name__}, which is no mindspore.nn.Cell")
    if not isinstance(getattr(model, "spec", None), (Spec, NoneType)):
        raise ReproError(f"{title} has an attribute `spec` of its own; give it another name")

    def output(_cell: Any, _inputs: Any, found: Any) -> Tensor:
        if not isinstance(first_output(found), Tensor):
            raise ReproError(
                f"{title} puts out a {type(found).__name__}; let it be the logits, or a tuple of them first"
            )
        return first_output(found)

    norms = (cell for _, cell in model.cells_and_names() if isinstance(cell, nn.layer.normalization._BatchNorm))
    momenta = (norm.momentum for norm in norms)  # kept as torch counts
    model.spec = describe_user_model(title, NAMES, _arrays_of(model), next(momenta, 0.1))
    model.register_forward_hook(output)
    return model


def load_weights(model: Any, arrays: Mapping[str, np.ndarray]) -> None:
    """Copies canonical weights into the model. Raises ReproError, and changes nothing, unless all of them fit."""
    check_weights(arrays, model.spec)
    own = model.parameters_dict()
    for name, array in NAMES.to_native(arrays, model.spec.weights).items():
        own[name].set_data(Tensor(array.astype(np.float32)))


def export_weights(model: Any) -> Arrays:
    """Copies of the model's weights under their canonical names."""
    own = model.parameters_dict().items()
    arrays = {name: value.asnumpy().copy() for name, value in own if not name.endswith(KEPT)}
    return NAMES.to_canonical(arrays, model.spec.weights)


def to_float64(make: Callable[[], Any]) -> Any:
    raise ReproError("mindspore has no float64 convolution or batch normalisation on the CPU")


def truncate(model: Any, spec: Spec) -> None:
    """Cuts parameters to the shapes of the spec, which becomes the model's; it cannot run any more."""
    shapes = NAMES.native_shapes(spec.weights)
    for parameter in model.trainable_params():
        parameter.set_data(Tensor(np.empty(shapes[parameter.name], np.float32)), slice_shape=True)
    model.spec = spec


def _run(model: Any, images: np.ndarray, hooks: list[Any], train: bool = False) -> np.ndarray:
    """Logits in evaluation or training mode, and the hooks gone afterwards; they need the eager mode."""
    with mode(mindspore.PYNATIVE_MODE, hooks):
        model.set_train(train)
        return model(Tensor(images)).asnumpy()


def forward(model: Any, images: np.ndarray, train: bool = False, every_module: bool = False) -> Arrays:
    """Every stage's output, and the logits, of images (N, C, H, W), in evaluation or training mode. every_module: what
    enters and leaves every cell."""
    outputs: Arrays = {}
    cells = {name: cell for name, cell in model.cells_and_names() if name}
    names = {cells[name]: name for name in (cells if every_module else model.spec.trace(images.shape[2]).stages)}

    def keep(name: str, array: Any) -> None:
        if isinstance(first_output(array), Tensor):
            outputs[unique_name(name, outputs)] = first_output(array).asnumpy().copy()

    hooks = drop_hooks(model)
    hooks += [cell.register_forward_hook(lambda cell, _inputs, output: keep(names[cell], output)) for cell in names]
    if every_module:
        hooks += [
            cell.register_forward_pre_hook(lambda cell, inputs: keep(f"input of {names[cell]}", inputs))
            for cell in names
        ]
    logits = _run(model, images, hooks, train)
    return outputs | {"logits": logits}


def set_dropout_source(model: Any, draw: DropoutSource) -> None:
    """Dropout and drop-path layers leave out what draw(name, shape) puts below their rate."""
    names = {cell: name for name, cell in model.cells_and_names() if isinstance(cell, (Dropout, nn.Dropout))}
    model.draw, model.dropping, model.drawn_for = draw, names, 0  # images in a batch


def drop_hooks(model: Any) -> list[Any]:
    """What makes the eager mode drop so, until they are removed: a graph with hooks does not compile."""

    def drop(cell: Any, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        (x,) = inputs
        ours = isinstance(cell, Dropout)
        rate = cell.rate if ours else cell.p
        if not cell.training or not rate:
            return output
        drawn = model.draw(model.dropping[cell], cell.drawn(x.shape) if ours else x.shape)
        return x * Tensor(drawn >= rate).astype(x.dtype) / (1 - rate)

    return [cell.register_forward_hook(drop) for cell in getattr(model, "dropping", ())]


def draw_drops(model: Any, images: np.ndarray) -> None:
    """Draws what the next compiled step drops. Raises ReproError for a layer that has no place to put it in."""
    for cell, name in getattr(model, "dropping", {}).items():
        if not isinstance(cell, Dropout):
            raise ReproError(f"{name} is nn.Dropout, which draws by itself in a compiled step; give compiled=False")
    cells = {cell: name for cell, name in getattr(model, "dropping", {}).items() if cell.rate}
    if cells and model.drawn_for != len(images):  # a forward pass tells the shapes, and which layers run at all

        def prepare(cell: Any, inputs: tuple[Tensor], _output: Tensor) -> None:
            ones = Tensor(np.ones(cell.drawn(inputs[0].shape), np.float32))
            cell.kept = Parameter(ones, name=cells[cell] + KEPT, requires_grad=False)

        _run(model, images, [cell.register_forward_hook(prepare) for cell in cells])
        model.drawn_for = len(images)
    for cell, name in cells.items():
        if cell.kept is not None:
            cell.kept.set_data(Tensor((model.draw(name, cell.kept.shape) >= cell.rate).astype(np.float32)))


def operators(model: Any, size: int) -> list[dict[str, Any]]:
    """The convolutions, normalisations and dense layers that run for one image of `size` pixels, with what they own
    and cost, counted from MindSpore's own tensors."""
    rows: list[dict[str, Any]] = []
    names = {cell: name for name, cell in model.cells_and_names() if _type(cell)}

    def count(cell: Any, _inputs: Any, output: Tensor) -> None:
        kind = _type(cell)
        positions = output[0, 0].size if kind == "conv" else 1
        rows.append({
            "name": names[cell],
            "kind": kind,
            "output": list(output.shape[1:]),
            "params": sum(parameter.size for parameter in cell.trainable_params()),
            "macs": 0 if kind == "norm" else cell.weight.size * positions,
        })  # fmt: skip

    hooks = [cell.register_forward_hook(count) for cell in names]
    _run(model, np.zeros((1, model.spec.in_channels, size, size), np.float32), hooks)
    return rows
