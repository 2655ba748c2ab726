"""A model as the core sees it: made from a spec, filled with canonical weights, looked into while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import NoneType
from typing import Any

import numpy as np
import paddle
from paddle import nn

from backends.paddle.layers import DropPath
from backends.paddle.models import FAMILIES
from backends.paddle.native_weights import NAMES
from repro.arrays import Arrays
from repro.errors import ReproError
from repro.interface.contract import DropoutSource
from repro.interface.module_outputs import first_output, unique_name
from repro.specs import Spec, find_spec
from repro.weights.describe import FrameworkArray, describe_user_model
from repro.weights.strict import check_weights

TYPES: dict[str, tuple[type, ...]] = {
    "conv": (nn.Conv1D, nn.Conv2D, nn.Conv3D),
    "norm": (nn.layer.norm._BatchNormBase, nn.BatchNorm, nn.GroupNorm, nn.LayerNorm),
    "linear": (nn.Linear,),
}


def create_model(model: str | Spec, *, num_classes: int = 1000, in_channels: int = 3, **options: object) -> Any:
    """Return a plain nn.Layer with the attribute `spec`, holding Paddle's own random weights.

    model: the name of a variant, with the options of its family, or a spec, which has its options already. The initial
    weights of the paper are in repro.weights.init. Raises ReproError for an unknown name or an impossible setting.
    """
    spec = find_spec(model, num_classes=num_classes, in_channels=in_channels, **options)
    return FAMILIES[type(spec)](spec)


def _type(layer: Any) -> str:
    """conv, norm, linear, or nothing for another layer."""
    return next((name for name, types in TYPES.items() if isinstance(layer, types)), "")


def _arrays_of(model: nn.Layer) -> Iterator[FrameworkArray]:
    seen: set[int] = set()
    for path, layer in model.named_sublayers(include_self=True):
        for held in (layer._parameters, layer._buffers):
            for leaf, value in held.items():
                if value is None or id(value) in seen:
                    continue
                seen.add(id(value))
                name = f"{path}.{leaf}" if path else leaf
                groups, trained = getattr(layer, "_groups", 1), held is layer._parameters
                yield FrameworkArray(path, _type(layer), leaf, name, value.shape, groups, trained)


def wrap_user_model(model: Any, title: str) -> Any:
    """A model that is not ours, with a `spec` of its weights and one tensor as its output."""
    if not isinstance(model, nn.Layer):
        raise ReproError(f"{title} is a {type(model).__name__}, which is no paddle.nn.Layer")
    if not isinstance(getattr(model, "spec", None), (Spec, NoneType)):
        raise ReproError(f"{title} has an attribute `spec` of its own; give it another name")

    def output(_layer: Any, _inputs: Any, found: Any) -> paddle.Tensor:
        if not isinstance(first_output(found), paddle.Tensor):
            raise ReproError(
                f"{title} puts out a {type(found).__name__}; let it be the logits, or a tuple of them first"
            )
        return first_output(found)

    norms = (layer for layer in model.sublayers() if isinstance(layer, (nn.layer.norm._BatchNormBase, nn.BatchNorm)))
    momenta = (1 - norm._momentum for norm in norms)
    model.spec = describe_user_model(title, NAMES, _arrays_of(model), next(momenta, 0.1))
    model.register_forward_post_hook(output)
    return model


def load_weights(model: Any, arrays: Mapping[str, np.ndarray]) -> None:
    """Copies canonical weights into the model. Raises ReproError, and changes nothing, unless all of them fit."""
    check_weights(arrays, model.spec)
    own = model.state_dict()
    for name, array in NAMES.to_native(arrays, model.spec.weights).items():
        own[name].set_value(array.astype(str(own[name].dtype).removeprefix("paddle.")))


def export_weights(model: Any) -> Arrays:
    """Copies of the model's weights under their canonical names."""
    arrays = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    return NAMES.to_canonical(arrays, model.spec.weights)


def to_float64(make: Callable[[], Any]) -> Any:
    """What `make` makes, in double precision; astype() leaves batch normalisation in float32."""
    before = paddle.get_default_dtype()
    paddle.set_default_dtype("float64")
    try:
        return make()
    finally:
        paddle.set_default_dtype(before)


def truncate(model: Any, spec: Spec) -> None:
    """Cuts parameters to the shapes of the spec, which becomes the model's; it cannot run any more."""
    shapes = NAMES.native_shapes(spec.weights)
    for name, parameter in model.named_parameters():
        # set_value() keeps to the shape
        parameter.get_tensor().set(np.empty(shapes[name], parameter.numpy().dtype), paddle.CPUPlace())
    model.spec = spec


def forward(model: Any, images: np.ndarray, train: bool = False, every_module: bool = False) -> Arrays:
    """Every stage's output, and the logits, of images (N, C, H, W), in evaluation or training mode. every_module: what
    enters and leaves every layer."""
    outputs: Arrays = {}
    layers = dict(model.named_sublayers())
    names = {layers[name]: name for name in (layers if every_module else model.spec.trace(images.shape[2]).stages)}

    def keep(name: str, array: Any) -> None:
        if isinstance(first_output(array), paddle.Tensor):
            outputs[unique_name(name, outputs)] = first_output(array).numpy().copy()

    hooks = [
        layer.register_forward_post_hook(lambda layer, _inputs, output: keep(names[layer], output)) for layer in names
    ]
    if every_module:
        hooks += [
            layer.register_forward_pre_hook(lambda layer, inputs: keep(f"input of {names[layer]}", inputs))
            for layer in names
        ]
    try:
        (model.train if train else model.eval)()
        with paddle.no_grad():
            outputs["logits"] = model(paddle.to_tensor(images)).numpy()
    finally:
        for hook in hooks:
            hook.remove()
    return outputs


def set_dropout_source(model: Any, draw: DropoutSource) -> None:
    """Dropout and drop-path layers leave out what draw(name, shape) puts below their rate."""
    names = {layer: name for name, layer in model.named_sublayers()}

    def drop(layer: Any, inputs: tuple[paddle.Tensor], output: paddle.Tensor) -> paddle.Tensor:
        (x,) = inputs
        path = isinstance(layer, DropPath)
        rate = layer.rate if path else layer.p
        if not layer.training or not rate:
            return output
        drawn = draw(names[layer], (x.shape[0], 1, 1, 1) if path else tuple(x.shape))
        return x * paddle.to_tensor(drawn >= rate).astype(x.dtype) / (1 - rate)

    for layer in names:
        if isinstance(layer, (nn.Dropout, DropPath)):
            layer.register_forward_post_hook(drop)


def operators(model: Any, size: int) -> list[dict[str, Any]]:
    """The convolutions, normalisations and linear layers that run for one image of `size` pixels, with what they own
    and cost, counted from Paddle's own tensors."""
    rows: list[dict[str, Any]] = []
    names = {layer: name for name, layer in model.named_sublayers() if _type(layer)}

    def count(layer: Any, _inputs: Any, output: paddle.Tensor) -> None:
        kind = _type(layer)
        positions = output[0, 0].size if kind == "conv" else 1
        rows.append({
            "name": names[layer],
            "kind": kind,
            "output": list(output.shape[1:]),
            "params": int(sum(parameter.size for parameter in layer.parameters() if not parameter.stop_gradient)),
            "macs": 0 if kind == "norm" else int(layer.weight.size * positions),
        })  # fmt: skip

    hooks = [layer.register_forward_post_hook(count) for layer in names]
    try:
        model.eval()
        with paddle.no_grad():
            model(paddle.zeros([1, model.spec.in_channels, size, size], dtype=model.parameters()[0].dtype))
    finally:
        for hook in hooks:
            hook.remove()
    return rows
