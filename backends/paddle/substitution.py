"""A forward pass, and its gradients, in which the values that layers take and return are replaced."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import paddle

from backends.paddle.native_weights import NAMES
from repro.arrays import Arrays
from repro.interface.module_outputs import Images, first_output, input_arrays, output_tensors
from repro.interface.substitution import ValueNames, replace_first


def forward_with_values(
    model: Any, images: Images, names: Collection[str], values: Mapping[str, np.ndarray],
    seeds: Mapping[str, np.ndarray], *, train: bool,
) -> tuple[Arrays, dict[str, str]]:  # fmt: skip
    """Return the values of layers as they are computed, their gradients, and the places of the calls.

    See repro.interface.Backend.forward_with_values.
    """
    results: Arrays = {}
    leaves: dict[str, paddle.Tensor] = {}
    products: list[paddle.Tensor] = []
    value_names = ValueNames(names)

    def visit(name: str, value: Any) -> Any:
        tensor = first_output(value)
        is_float = isinstance(tensor, paddle.Tensor) and tensor.is_floating_point()
        unique = value_names.next(name) if is_float else None
        if unique is None:
            return None
        results[unique] = tensor.numpy().copy()
        if unique in seeds and seeds[unique].shape == tuple(tensor.shape):
            products.append((tensor * paddle.to_tensor(np.array(seeds[unique]))).sum())
        if unique in values and values[unique].shape == tuple(tensor.shape):
            leaf = paddle.to_tensor(np.array(values[unique]), stop_gradient=not seeds)
            new = leaf.clone()  # the model may change it in place
        elif seeds:
            leaf = paddle.zeros_like(tensor)
            leaf.stop_gradient = False
            new = tensor + leaf
        else:
            return None
        leaves[unique] = leaf
        return replace_first(value, new)

    hooks = []
    for path, layer in model.named_sublayers():
        hooks.append(
            layer.register_forward_pre_hook(lambda _layer, inputs, path=path: visit(f"input of {path}", inputs))
        )
        hooks.append(layer.register_forward_post_hook(lambda _layer, _inputs, output, path=path: visit(path, output)))
    try:
        (model.train if train else model.eval)()
        with paddle.set_grad_enabled(bool(seeds)):
            outputs = output_tensors(model(*map(paddle.to_tensor, input_arrays(images))), paddle.is_tensor)
    finally:
        for hook in hooks:
            hook.remove()
    for name, tensor in outputs.items():
        results[name] = tensor.numpy().copy()
        if name in seeds:
            products.append((tensor * paddle.to_tensor(np.array(seeds[name]))).sum())
    if total := [product for product in products if not product.stop_gradient]:
        trained = {name: parameter for name, parameter in model.named_parameters() if not parameter.stop_gradient}
        targets = leaves | trained
        arrays = paddle.grad(total, list(targets.values()), allow_unused=True)
        gradients = {
            name: np.zeros(tuple(targets[name].shape)) if array is None else array.numpy().copy()
            for name, array in zip(targets, arrays, strict=True)
        }
        weights = NAMES.to_canonical({name: gradients.pop(name) for name in trained}, model.spec.weights)
        results |= {f"gradient of {name}": array for name, array in (gradients | weights).items()}
    return results, value_names.places
