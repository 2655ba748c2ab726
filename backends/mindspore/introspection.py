"""The inside of a model: the outputs of its cells, and the operators that it runs."""

from __future__ import annotations

from typing import Any

import numpy as np
from mindspore import Tensor, nn

from backends.mindspore.dropout import dropout_hooks
from backends.mindspore.model import run_eagerly
from repro.arrays import Arrays
from repro.interface.contract import Feed
from repro.interface.module_outputs import Images, first_output, image_size, unique_name

LAYER_TYPES: dict[str, tuple[type, ...]] = {
    "conv": (nn.Conv1d, nn.Conv2d, nn.Conv3d),
    "norm": (nn.layer.normalization._BatchNorm, nn.layer.normalization._InstanceNorm, nn.GroupNorm, nn.LayerNorm),
    "linear": (nn.Dense,),
}


def layer_type(cell: Any) -> str:
    """Return "conv", "norm", "linear", or "" for any other cell."""
    return next((name for name, types in LAYER_TYPES.items() if isinstance(cell, types)), "")


def forward(model: Any, images: Images, *, train: bool = False, every_module: bool = False) -> Arrays:
    """Return the output of every stage, and the logits, for images (N, C, H, W).

    train: run in training mode; every_module: return every cell's input and output instead. The names are those of
    repro.interface.Backend.forward.
    """
    outputs: Arrays = {}
    cells = {name: cell for name, cell in model.cells_and_names() if name}
    names = {cells[name]: name for name in (cells if every_module else model.spec.trace(image_size(images)).stages)}

    def record(name: str, value: Any) -> None:
        if isinstance(first_output(value), Tensor):
            outputs[unique_name(name, outputs)] = first_output(value).asnumpy().copy()

    hooks = dropout_hooks(model)
    hooks += [cell.register_forward_hook(lambda cell, _inputs, output: record(names[cell], output)) for cell in names]
    if every_module:
        hooks += [
            cell.register_forward_pre_hook(lambda cell, inputs: record(f"input of {names[cell]}", inputs))
            for cell in names
        ]
    return outputs | run_eagerly(model, images, hooks, train=train)


def feed_modules(model: Any, images: np.ndarray, feed: Feed) -> None:
    """Run in evaluation mode, with feed(NAME, ARRAY) in the place of every tensor that enters or leaves a cell."""
    names = {cell: name for name, cell in model.cells_and_names() if name}

    def exchange(name: str, value: Any) -> Any:
        return Tensor(feed(name, value.asnumpy())) if isinstance(value, Tensor) else value

    hooks = [cell.register_forward_hook(lambda cell, _inputs, output: exchange(names[cell], output)) for cell in names]
    hooks += [
        cell.register_forward_pre_hook(
            lambda cell, inputs: tuple(exchange(f"input of {names[cell]}", value) for value in inputs)
        )
        for cell in names
    ]
    for name, logits in run_eagerly(model, images, hooks).items():
        feed(name, logits)


def operators(model: Any, size: int) -> list[dict[str, Any]]:
    """Return the fields of repro.specs.OperatorCost for every layer that runs for one image of `size` x `size` pixels.

    Parameters and MACs are counted from MindSpore's own tensors.
    """
    rows: list[dict[str, Any]] = []
    names = {cell: name for name, cell in model.cells_and_names() if layer_type(cell)}

    def count(cell: Any, _inputs: Any, output: Tensor) -> None:
        kind = layer_type(cell)
        positions = output[0, 0].size if kind == "conv" else 1
        rows.append({
            "name": names[cell],
            "kind": kind,
            "output": list(output.shape[1:]),
            "params": sum(parameter.size for parameter in cell.trainable_params()),
            "macs": 0 if kind == "norm" else cell.weight.size * positions,
        })  # fmt: skip

    hooks = [cell.register_forward_hook(count) for cell in names]
    run_eagerly(model, np.zeros((1, model.spec.in_channels, size, size), np.float32), hooks)
    return rows
