"""A forward pass, and its gradients, in which the values that modules take and return are replaced."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch

from backends.torch.native_weights import NAMES
from repro.arrays import Arrays
from repro.interface.module_outputs import Images, first_output, input_arrays, output_tensors
from repro.interface.substitution import ValueNames, replace_first


def forward_with_values(
    model: Any, images: Images, names: Collection[str], values: Mapping[str, np.ndarray],
    seeds: Mapping[str, np.ndarray], *, train: bool,
) -> tuple[Arrays, dict[str, str]]:  # fmt: skip
    """Return the values of modules as they are computed, their gradients, and the places of the calls.

    See repro.interface.Backend.forward_with_values.
    """
    results: Arrays = {}
    leaves: dict[str, torch.Tensor] = {}
    total = torch.zeros((), dtype=torch.float64)
    value_names = ValueNames(names)

    def visit(name: str, value: Any) -> Any:
        nonlocal total
        tensor = first_output(value)
        unique = value_names.next(name) if isinstance(tensor, torch.Tensor) and tensor.is_floating_point() else None
        if unique is None:
            return None
        results[unique] = tensor.numpy(force=True).copy()
        if unique in seeds and seeds[unique].shape == tuple(tensor.shape):
            total = total + (tensor * torch.as_tensor(seeds[unique])).sum()
        if unique in values and values[unique].shape == tuple(tensor.shape):
            leaf = torch.as_tensor(np.array(values[unique])).requires_grad_(bool(seeds))
            new = leaf.clone()  # the model may change it in place
        elif seeds:
            leaf = torch.zeros_like(tensor, requires_grad=True)
            new = tensor + leaf
        else:
            return None
        leaves[unique] = leaf
        return replace_first(value, new)

    hooks = []
    for path, module in model.named_modules():
        if path:
            hooks.append(
                module.register_forward_pre_hook(lambda _module, inputs, path=path: visit(f"input of {path}", inputs))
            )
            hooks.append(module.register_forward_hook(lambda _module, _inputs, output, path=path: visit(path, output)))
    try:
        model.train(train)
        with torch.set_grad_enabled(bool(seeds)):
            outputs = output_tensors(model(*map(torch.as_tensor, input_arrays(images))), torch.is_tensor)
    finally:
        for hook in hooks:
            hook.remove()
    for name, tensor in outputs.items():
        results[name] = tensor.numpy(force=True).copy()
        if name in seeds:
            total = total + (tensor * torch.as_tensor(seeds[name])).sum()
    if seeds and total.requires_grad:
        trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        targets = leaves | trained
        arrays = torch.autograd.grad(total, list(targets.values()), allow_unused=True)
        gradients = {
            name: np.zeros(tuple(targets[name].shape)) if array is None else array.numpy(force=True).copy()
            for name, array in zip(targets, arrays, strict=True)
        }
        weights = NAMES.to_canonical({name: gradients.pop(name) for name in trained}, model.spec.weights)
        results |= {f"gradient of {name}": array for name, array in (gradients | weights).items()}
    return results, value_names.places
