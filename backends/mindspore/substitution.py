"""A forward pass, and its gradients, in which the values that cells take and return are replaced."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import mindspore
import numpy as np
from mindspore import Tensor, ops

from backends.mindspore.dropout import dropout_hooks
from backends.mindspore.model import execution_mode, outputs_of
from backends.mindspore.native_weights import NAMES
from repro.arrays import Arrays
from repro.interface.module_outputs import Images, first_output, input_arrays, is_output
from repro.interface.substitution import ValueNames, replace_first


def forward_with_values(
    model: Any, images: Images, names: Collection[str], values: Mapping[str, np.ndarray],
    seeds: Mapping[str, np.ndarray], *, train: bool,
) -> tuple[Arrays, dict[str, str]]:  # fmt: skip
    """Return the values of cells as they are computed, their gradients, and the places of the calls.

    See repro.interface.Backend.forward_with_values.
    """
    draws = _RepeatedDraws(model)
    results, places = _run(model, images, names, values, train=train)
    if not seeds:
        draws.end()
        return results, places
    # the gradient of a value that is not replaced is that of zeros that are added to it
    zeros = {name: np.zeros_like(array) for name, array in results.items() if not is_output(name)}
    leaves = {name: values[name] if _fits(values, name, zero) else zero for name, zero in zeros.items()}
    added = {name for name in leaves if not _fits(values, name, zeros[name])}
    trained = model.trainable_params()

    def weighted_sum(*tensors: Tensor) -> Tensor:
        products: list[Tensor] = []

        def visit(name: str, tensor: Tensor) -> Tensor:
            if name in seeds and seeds[name].shape == tensor.shape:
                products.append((tensor * Tensor(seeds[name])).sum())
            leaf = tensors[list(leaves).index(name)]
            return tensor + leaf if name in added else leaf * 1

        for name, tensor in _call(model, images, leaves, visit, train=train).items():
            if name in seeds:
                products.append((tensor * Tensor(seeds[name])).sum())
        return sum(products[1:], products[0])

    draws.repeat()
    with execution_mode(mindspore.PYNATIVE_MODE):
        tensors = [Tensor(np.array(array)) for array in leaves.values()]
        of_leaves, of_weights = ops.grad(weighted_sum, tuple(range(len(leaves))), trained)(*tensors)
    draws.end()
    gradients = {parameter.name: array.asnumpy().copy() for parameter, array in zip(trained, of_weights, strict=True)}
    weights = NAMES.to_canonical(gradients, model.spec.weights)
    of_values = {name: array.asnumpy().copy() for name, array in zip(leaves, of_leaves, strict=True)}
    return results | {f"gradient of {name}": array for name, array in (of_values | weights).items()}, places


class _RepeatedDraws:
    """The random numbers of dropout in one pass, for another pass with the same ones."""

    def __init__(self, model: Any):
        self.model, self.source = model, getattr(model, "dropout_source", None)
        self.numbers: list[np.ndarray] = []
        model.dropout_source = self.record

    def record(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        assert self.source
        self.numbers.append(self.source(name, shape))
        return self.numbers[-1]

    def repeat(self) -> None:
        """Draw the same numbers again."""
        numbers = iter(self.numbers)
        self.model.dropout_source = lambda name, shape: next(numbers)

    def end(self) -> None:
        self.model.dropout_source = self.source


def _fits(values: Mapping[str, np.ndarray], name: str, array: np.ndarray) -> bool:
    return name in values and values[name].shape == array.shape


def _run(
    model: Any, images: Images, names: Collection[str], values: Mapping[str, np.ndarray], *, train: bool
) -> tuple[Arrays, dict[str, str]]:
    """The forward pass without gradients."""
    results: Arrays = {}
    places: dict[str, str] = {}

    def visit(name: str, tensor: Tensor) -> Tensor | None:
        results[name] = tensor.asnumpy().copy()
        return Tensor(np.array(values[name])) if _fits(values, name, results[name]) else None

    with execution_mode(mindspore.PYNATIVE_MODE):
        outputs = _call(model, images, names, visit, train=train, places=places)
        return results | {name: tensor.asnumpy().copy() for name, tensor in outputs.items()}, places


def _call(
    model: Any, images: Images, names: Collection[str], visit: Any, *, train: bool,
    places: dict[str, str] | None = None,
) -> dict[str, Tensor]:  # fmt: skip
    """Call the model with hooks that hand each value in `names` to visit(name, tensor), and replace it by the result.

    places: gets the place of each call.
    """
    value_names = ValueNames(names)

    def hook(name: str, value: Any) -> Any:
        tensor = first_output(value)
        is_float = isinstance(tensor, Tensor) and tensor.is_floating_point()
        unique = value_names.next(name) if is_float else None
        new = None if unique is None else visit(unique, tensor)
        return None if new is None else replace_first(value, new)

    hooks = dropout_hooks(model)
    for path, cell in model.cells_and_names():
        if path:
            hooks.append(
                cell.register_forward_pre_hook(lambda _cell, inputs, path=path: hook(f"input of {path}", inputs))
            )
            hooks.append(cell.register_forward_hook(lambda _cell, _inputs, output, path=path: hook(path, output)))
    try:
        model.set_train(train)
        return outputs_of(model, map(Tensor, input_arrays(images)))
    finally:
        for handle in hooks:
            handle.remove()
        if places is not None:
            places.update(value_names.places)
