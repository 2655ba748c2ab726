"""The inside of a model: the outputs of its modules, and the operators that it runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from repro.arrays import Arrays
from repro.interface.contract import Feed
from repro.interface.module_outputs import (
    Images,
    first_output,
    image_size,
    input_arrays,
    output_tensors,
    unique_name,
)

LAYER_TYPES: dict[str, tuple[type, ...]] = {
    "conv": (nn.Conv1d, nn.Conv2d, nn.Conv3d),
    "norm": (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm),
    "linear": (nn.Linear,),
}


def layer_type(module: Any) -> str:
    """Return "conv", "norm", "linear", or "" for any other module."""
    return next((name for name, types in LAYER_TYPES.items() if isinstance(module, types)), "")


def forward(model: Any, images: Images, *, train: bool = False, every_module: bool = False) -> Arrays:
    """Return the output of every stage, and the logits, for images (N, C, H, W).

    train: run in training mode; every_module: return every module's input and output instead. The names are those of
    repro.interface.Backend.forward.
    """
    outputs: Arrays = {}
    stages = (
        [name for name, _ in model.named_modules() if name]
        if every_module
        else model.spec.trace(image_size(images)).stages
    )
    names = {model.get_submodule(name): name for name in stages}

    def record(name: str, value: Any) -> None:
        if isinstance(first_output(value), torch.Tensor):
            outputs[unique_name(name, outputs)] = as_array(first_output(value)).copy()

    hooks = [
        module.register_forward_hook(lambda module, _inputs, output: record(names[module], output)) for module in names
    ]
    if every_module:
        hooks += [
            module.register_forward_pre_hook(lambda module, inputs: record(f"input of {names[module]}", inputs))
            for module in names
        ]
    try:
        model.train(train)
        with torch.no_grad():
            results = output_tensors(model(*map(torch.as_tensor, input_arrays(images))), torch.is_tensor)
            outputs |= {name: as_array(value) for name, value in results.items()}
    finally:
        for hook in hooks:
            hook.remove()
    return outputs


def as_array(tensor: torch.Tensor) -> np.ndarray:
    """Return a tensor's values; those of bfloat16, which NumPy lacks, in float32."""
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy(force=True)


def feed_modules(model: Any, images: np.ndarray, feed: Feed) -> None:
    """Run in evaluation mode, with feed(NAME, ARRAY) in the place of every tensor that enters or leaves a module."""
    names = {module: name for name, module in model.named_modules() if name}

    def exchange(name: str, value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        return torch.from_numpy(feed(name, value.numpy(force=True))).to(value.device)

    hooks = [
        module.register_forward_hook(lambda module, _inputs, output: exchange(names[module], output))
        for module in names
    ]
    hooks += [
        module.register_forward_pre_hook(
            lambda module, inputs: tuple(exchange(f"input of {names[module]}", value) for value in inputs)
        )
        for module in names
    ]
    try:
        model.eval()
        with torch.no_grad():
            exchange("logits", model(torch.as_tensor(images)))
    finally:
        for hook in hooks:
            hook.remove()


def operators(model: Any, size: int) -> list[dict[str, Any]]:
    """Return the fields of repro.specs.OperatorCost for every layer that runs for one image of `size` x `size` pixels.

    Parameters and MACs are counted from PyTorch's own tensors.
    """
    rows: list[dict[str, Any]] = []
    names = {module: name for name, module in model.named_modules() if layer_type(module)}

    def count(module: Any, _inputs: Any, output: torch.Tensor) -> None:
        kind = layer_type(module)
        positions = output[0, 0].numel() if kind == "conv" else 1
        rows.append({
            "name": names[module],
            "kind": kind,
            "output": list(output.shape[1:]),
            "params": sum(parameter.numel() for parameter in module.parameters()),
            "macs": 0 if kind == "norm" else module.weight.numel() * positions,
        })  # fmt: skip

    hooks = [module.register_forward_hook(count) for module in names]
    try:
        model.eval()
        with torch.no_grad():
            model(torch.zeros(1, model.spec.in_channels, size, size, dtype=next(model.parameters()).dtype))
    finally:
        for hook in hooks:
            hook.remove()
    return rows
