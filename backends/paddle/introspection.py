"""The inside of a model: the outputs of its layers, and the operators that it runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
from paddle import nn

from repro.arrays import Arrays
from repro.interface.contract import Feed
from repro.interface.module_outputs import (
    Images,
    first_output,
    input_arrays,
    output_tensors,
    unique_name,
)

LAYER_TYPES: dict[str, tuple[type, ...]] = {
    "conv": (nn.Conv1D, nn.Conv2D, nn.Conv3D),
    "norm": (nn.layer.norm._BatchNormBase, nn.BatchNorm, nn.GroupNorm, nn.LayerNorm, nn.layer.norm._InstanceNormBase),
    "linear": (nn.Linear,),
}
TENSORS = (paddle.Tensor, paddle.pir.Value)


def layer_type(layer: Any) -> str:
    """Return "conv", "norm", "linear", or "" for any other layer."""
    return next((name for name, types in LAYER_TYPES.items() if isinstance(layer, types)), "")


def forward(model: Any, images: Images, *, train: bool = False, every_module: bool = False) -> Arrays:
    """Return the output of every stage, and the logits, for images (N, C, H, W).

    train: run in training mode; every_module: return every layer's input and output instead. The names are those of
    repro.interface.Backend.forward.
    """
    (model.train if train else model.eval)()
    with paddle.no_grad():
        tensors = module_tensors(model, *map(paddle.to_tensor, input_arrays(images)), every_module=every_module)
        return {name: tensor.numpy() for name, tensor in tensors.items()}


def module_tensors(model: Any, *inputs: Any, every_module: bool) -> dict[str, Any]:
    """Return the tensors of `forward` in the model's present mode: values, or variables of a graph that is recorded."""
    outputs: dict[str, Any] = {}
    layers = dict(model.named_sublayers())
    size = inputs[0].shape[2] if len(inputs) == 1 and inputs[0].ndim == 4 else None
    names = {layers[name]: name for name in (layers if every_module else model.spec.trace(size).stages)}

    def record(name: str, value: Any) -> None:
        tensor = first_output(value)
        if isinstance(tensor, TENSORS):
            # a later layer may change values in place, but not the variables of a graph
            outputs[unique_name(name, outputs)] = tensor.clone() if isinstance(tensor, paddle.Tensor) else tensor

    hooks = [
        layer.register_forward_post_hook(lambda layer, _inputs, output: record(names[layer], output)) for layer in names
    ]
    if every_module:
        hooks += [
            layer.register_forward_pre_hook(lambda layer, inputs: record(f"input of {names[layer]}", inputs))
            for layer in names
        ]
    try:
        return outputs | output_tensors(model(*inputs), lambda value: isinstance(value, TENSORS))
    finally:
        for hook in hooks:
            hook.remove()


def feed_modules(model: Any, images: np.ndarray, feed: Feed) -> None:
    """Run in evaluation mode, with feed(NAME, ARRAY) in the place of every tensor that enters or leaves a layer."""
    names = {layer: name for name, layer in model.named_sublayers()}

    def exchange(name: str, value: Any) -> Any:
        return paddle.to_tensor(feed(name, value.numpy())) if isinstance(value, paddle.Tensor) else value

    hooks = [
        layer.register_forward_post_hook(lambda layer, _inputs, output: exchange(names[layer], output))
        for layer in names
    ]
    hooks += [
        layer.register_forward_pre_hook(
            lambda layer, inputs: tuple(exchange(f"input of {names[layer]}", value) for value in inputs)
        )
        for layer in names
    ]
    try:
        model.eval()
        with paddle.no_grad():
            exchange("logits", model(paddle.to_tensor(images)))
    finally:
        for hook in hooks:
            hook.remove()


def operators(model: Any, size: int) -> list[dict[str, Any]]:
    """Return the fields of repro.specs.OperatorCost for every layer that runs for one image of `size` x `size` pixels.

    Parameters and MACs are counted from Paddle's own tensors.
    """
    rows: list[dict[str, Any]] = []
    names = {layer: name for name, layer in model.named_sublayers() if layer_type(layer)}

    def count(layer: Any, _inputs: Any, output: paddle.Tensor) -> None:
        kind = layer_type(layer)
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
