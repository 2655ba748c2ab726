"""User models: Paddle models that are not from this repository, made to look like the ones that are."""

from __future__ import annotations

from collections.abc import Iterable
from types import NoneType
from typing import Any

import numpy as np
import paddle
from paddle import nn

from backends.paddle.dropout import CHANNEL_DROPOUTS, draws_from_source
from backends.paddle.introspection import forward, layer_type
from backends.paddle.native_weights import NAMES
from repro.arrays import Arrays
from repro.errors import ReproError
from repro.interface.contract import Projection
from repro.interface.draws import DrawWatcher
from repro.interface.module_outputs import Images, input_arrays, output_tensors
from repro.interface.module_settings import (
    RUNNING_VARIANCE,
    ModuleDescription,
    Setting,
    module_text,
    read_geometry,
    read_settings,
)
from repro.specs import Spec
from repro.weights.describe import FrameworkArray, describe_user_model


def wrap_user_model(model: Any, title: str) -> Any:
    """Give a user model a `spec` of its weights.

    title: what messages call the model. Raises ReproError for an object that is not an nn.Layer, and for a model with a
    `spec` of its own.
    """
    if not isinstance(model, nn.Layer):
        raise ReproError(f"{title} is a {type(model).__name__}, not a paddle.nn.Layer")
    if not isinstance(getattr(model, "spec", None), (Spec, NoneType)):
        raise ReproError(f"{title} already has an attribute `spec`; give it another name")
    norms = (layer for layer in model.sublayers() if isinstance(layer, (nn.layer.norm._BatchNormBase, nn.BatchNorm)))
    momenta = (1 - norm._momentum for norm in norms)
    model.spec = describe_user_model(title, NAMES, framework_arrays(model), next(momenta, 0.1))
    return model


def framework_arrays(model: nn.Layer) -> Iterable[FrameworkArray]:
    """Every parameter and buffer of a model in the order of registration, a shared one once."""
    arrays: dict[int, FrameworkArray] = {}
    for path, layer in model.named_sublayers(include_self=True):
        for registered in (layer._parameters, layer._buffers):
            for leaf, value in registered.items():
                if value is None:
                    continue
                name = f"{path}.{leaf}" if path else leaf
                if first := arrays.get(id(value)):
                    arrays[id(value)] = first._replace(aliases=(*first.aliases, name))
                    continue
                groups, is_parameter = getattr(layer, "_groups", 1), registered is layer._parameters
                # ParamAttr(learning_rate=0.0) is Paddle's other way to freeze a weight
                trained = not value.stop_gradient and getattr(value, "optimize_attr", {}).get("learning_rate", 1.0) != 0
                arrays[id(value)] = FrameworkArray(
                    path,
                    layer_type(layer),
                    type(layer).__name__,
                    leaf,
                    name,
                    value.shape,
                    groups,
                    is_parameter,
                    trained,
                )
    return arrays.values()


def describe_modules(model: Any) -> dict[str, ModuleDescription]:
    """Return the modules of a user model by path, as they are now, the model itself under ""."""
    return {
        path: ModuleDescription(
            type(layer).__name__, layer.training, read_settings(layer, _special_settings(layer)), read_geometry(layer),
            module_text(layer, is_leaf=not any(True for _ in layer.children())),
        )
        for path, layer in model.named_sublayers(include_self=True)
    }  # fmt: skip


def _special_settings(layer: nn.Layer) -> dict[str, Setting]:
    """The settings that Paddle names in its own way."""
    if isinstance(layer, (nn.layer.norm._BatchNormBase, nn.BatchNorm)):
        statistics = "always running" if layer._use_global_stats else "running"
        settings: dict[str, Setting] = {"momentum": 1 - layer._momentum, "statistics": statistics}
        if type(layer).forward.__module__.startswith("paddle."):
            settings[RUNNING_VARIANCE] = "biased"
        return settings
    if isinstance(layer, nn.Dropout):
        part = "an element" if layer.axis is None else f"a slice along axis {layer.axis}"
        return {"rate": layer.p, "mode": layer.mode, "dropped part": part}
    if draws_from_source(layer) and hasattr(layer, "p"):
        return {"rate": layer.p, "dropped part": "a channel" if isinstance(layer, CHANNEL_DROPOUTS) else "an element"}
    if isinstance(layer, (nn.AvgPool1D, nn.AvgPool2D, nn.AvgPool3D)):
        return {"count_include_pad": not layer.exclusive if np.any(layer.padding) else None}
    if isinstance(layer, nn.Hardtanh):
        return {"lower limit": layer._min, "upper limit": layer._max}
    return {}


def random_modules(model: Any, images: Images, *, train: bool) -> list[str]:
    """Return the paths of layers that draw random numbers in a forward pass without using the dropout source."""
    watcher = DrawWatcher(_random_state)
    layers = dict(model.named_sublayers(include_self=True))
    names = {layer: path for path, layer in layers.items()}
    handles = [layer.register_forward_pre_hook(lambda layer, _inputs: watcher.begin(names[layer])) for layer in names]
    handles += [layer.register_forward_post_hook(lambda *_: watcher.end()) for layer in names]
    try:
        forward(model, images, train=train)
    finally:
        for handle in handles:
            handle.remove()
    return [path for path in watcher.drawing if not draws_from_source(layers[path])]


def _random_state() -> list[str]:
    """The words of the generator's state that describe it, without the address of the object that holds it."""
    words = str(paddle.framework.core.default_cpu_generator().get_state()).split()
    return [word for word in words if not word.startswith("0x")]


def gradients(model: Any, images: Images, projection: Projection) -> Arrays:
    """Return the gradients of all parameters in training mode; the loss is the sum of the projected outputs."""
    parameters = {name: value for name, value in model.named_parameters() if value.is_floating_point()}
    for parameter in parameters.values():
        parameter.stop_gradient = False
    model.train()
    outputs = output_tensors(model(*map(paddle.to_tensor, input_arrays(images))), paddle.is_tensor)
    products = [
        (value * paddle.to_tensor(numbers).astype(value.dtype)).sum()
        for name, value in outputs.items()
        if (numbers := projection(name, tuple(value.shape))) is not None
    ]
    values = paddle.grad(sum(products), list(parameters.values()), allow_unused=True)
    arrays = {
        name: np.zeros(parameter.shape, parameter.numpy().dtype) if value is None else value.numpy().copy()
        for (name, parameter), value in zip(parameters.items(), values, strict=True)
    }
    return NAMES.to_canonical(arrays, model.spec.weights)
