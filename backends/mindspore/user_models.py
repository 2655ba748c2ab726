"""User models: MindSpore models that are not from this repository, made to look like the ones that are."""

from __future__ import annotations

from collections.abc import Iterable
from types import NoneType
from typing import Any

import mindspore
from mindspore import Tensor, nn, ops

from backends.mindspore.dropout import CHANNEL_DROPOUTS, draws_from_source, drop_rate, dropout_hooks
from backends.mindspore.introspection import forward, layer_type
from backends.mindspore.model import execution_mode, outputs_of
from backends.mindspore.native_weights import NAMES
from repro.arrays import Arrays
from repro.errors import ReproError
from repro.interface.contract import Projection
from repro.interface.draws import DrawWatcher
from repro.interface.module_outputs import Images, input_arrays
from repro.interface.module_settings import ModuleDescription, Setting, module_text, read_geometry, read_settings
from repro.specs import Spec
from repro.weights.describe import FrameworkArray, describe_user_model
from repro.weights.weight_pairs import long_sides

FLOATS = (mindspore.float16, mindspore.bfloat16, mindspore.float32, mindspore.float64)


def wrap_user_model(model: Any, title: str) -> Any:
    """Give a user model a `spec` of its weights.

    title: what messages call the model. Raises ReproError for an object that is not an nn.Cell, and for a model with a
    `spec` of its own.
    """
    if not isinstance(model, nn.Cell):
        raise ReproError(f"{title} is a {type(model).__name__}, not a mindspore.nn.Cell")
    if not isinstance(getattr(model, "spec", None), (Spec, NoneType)):
        raise ReproError(f"{title} already has an attribute `spec`; give it another name")
    norms = (cell for _, cell in model.cells_and_names() if isinstance(cell, nn.layer.normalization._BatchNorm))
    momenta = (norm.momentum for norm in norms)  # the attribute, unlike the argument, is the new value's weight
    model.spec = describe_user_model(title, NAMES, framework_arrays(model), next(momenta, 0.1))
    for name in model.spec.frozen:  # a trainer decides by names what it trains, and leaves out what is frozen
        model.parameters_dict()[NAMES.name(name, model.spec.weights[name])].requires_grad = True
    return model


def framework_arrays(model: nn.Cell) -> Iterable[FrameworkArray]:
    """Every parameter of a model in the order of registration, a shared one once."""
    arrays: dict[int, FrameworkArray] = {}
    for path, cell in model.cells_and_names():
        for leaf, value in cell._params.items():
            if value is None:
                continue
            if first := arrays.get(id(value)):
                alias = f"{path}.{leaf}" if path else leaf
                arrays[id(value)] = first._replace(aliases=(*first.aliases, alias))
                continue
            groups = getattr(cell, "group", 1)
            # where other frameworks have buffers, cells keep tables and masks as parameters that are not trained
            is_matrix = len(long_sides(value.shape)) > 1
            is_table = value.dtype not in FLOATS or (is_matrix and not value.requires_grad)
            arrays[id(value)] = FrameworkArray(
                path,
                layer_type(cell),
                type(cell).__name__,
                leaf,
                value.name,
                value.shape,
                groups,
                not is_table,
                value.requires_grad,
            )
    return arrays.values()


def describe_modules(model: Any) -> dict[str, ModuleDescription]:
    """Return the modules of a user model by path, as they are now, the model itself under ""."""
    return {
        path: ModuleDescription(
            type(cell).__name__, cell.training, read_settings(cell, _special_settings(cell)), read_geometry(cell),
            module_text(cell, is_leaf=not any(True for _ in cell.cells())),
        )
        for path, cell in model.cells_and_names()
    }  # fmt: skip


def _special_settings(cell: nn.Cell) -> dict[str, Setting]:
    """The settings that MindSpore names in its own way."""
    if isinstance(cell, nn.layer.normalization._BatchNorm):
        statistics = {None: "running", True: "of the batch", False: "always running"}[cell.use_batch_statistics]
        return {"momentum": cell.momentum, "statistics": statistics}
    if draws_from_source(cell):
        part = "a channel" if isinstance(cell, CHANNEL_DROPOUTS) else "an element"
        return {"rate": drop_rate(cell), "mode": "upscale_in_train", "dropped part": part}
    if isinstance(cell, nn.LeakyReLU):
        return {"negative slope": cell.alpha, "alpha": None}
    if isinstance(cell, nn.Hardtanh):
        return {"lower limit": cell.min_val, "upper limit": cell.max_val}
    if isinstance(cell, (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)):
        return {"count_include_pad": None}  # its padding is not an attribute
    return {}


def random_modules(model: Any, images: Images, *, train: bool) -> list[str]:
    """Return the paths of cells that draw random numbers of Python or NumPy in a forward pass.

    MindSpore does not show the state of its own generator.
    """
    watcher = DrawWatcher(lambda: None)
    names = {cell: path for path, cell in model.cells_and_names()}
    handles = [cell.register_forward_pre_hook(lambda cell, _inputs: watcher.begin(names[cell])) for cell in names]
    handles += [cell.register_forward_hook(lambda *_: watcher.end()) for cell in names]
    try:
        forward(model, images, train=train)
    finally:
        for handle in handles:
            handle.remove()
    return watcher.drawing


def gradients(model: Any, images: Images, projection: Projection) -> Arrays:
    """Return the gradients of all parameters in training mode; the loss is the sum of the projected outputs."""
    parameters = model.trainable_params()

    def loss(*inputs: Tensor) -> Tensor:
        return sum(
            (value * Tensor(numbers).astype(value.dtype)).sum()
            for name, value in outputs_of(model, inputs).items()
            if (numbers := projection(name, value.shape)) is not None
        )

    with execution_mode(mindspore.PYNATIVE_MODE, dropout_hooks(model)):
        model.set_train(True)
        _, values = ops.value_and_grad(loss, None, parameters)(*map(Tensor, input_arrays(images)))
        arrays = {parameter.name: value.asnumpy() for parameter, value in zip(parameters, values, strict=True)}
    return NAMES.to_canonical(arrays, model.spec.weights)
