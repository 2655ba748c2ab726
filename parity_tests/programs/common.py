"""Helpers that programs share: calls of native layers, weights for other packages' models, errors of outputs.

Helpers that take a `backend` import the framework of that name and work in its process only.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from repro.arrays import Arrays
from repro.specs import Spec

Shape = tuple[int, ...]


def layers_of(backend: str) -> Any:
    """The module backends/BACKEND/layers.py."""
    return importlib.import_module(f"backends.{backend}.layers")


def to_tensor(backend: str, array: np.ndarray) -> Any:
    """The framework's tensor of an array, of the same shape and dtype."""
    if backend == "torch":
        import torch

        return torch.from_numpy(array)
    if backend == "paddle":
        import paddle

        return paddle.to_tensor(array)
    import mindspore

    return mindspore.Tensor(array)


def to_numpy(tensor: Any) -> np.ndarray:
    """The values of any framework's tensor."""
    if hasattr(tensor, "asnumpy"):
        return tensor.asnumpy()
    return tensor.detach().cpu().numpy()


def call(backend: str, layer: Any, *arrays: np.ndarray, training: bool = False) -> np.ndarray:
    """The output of a native layer or model, called as a user of the framework would, without gradients."""
    if backend == "mindspore":
        layer.set_train(training)
    else:
        layer.train() if training else layer.eval()
    tensors = [to_tensor(backend, array) for array in arrays]
    if backend == "torch":
        import torch

        with torch.no_grad():
            return to_numpy(layer(*tensors))
    if backend == "paddle":
        import paddle

        with paddle.no_grad():
            return to_numpy(layer(*tensors))
    return to_numpy(layer(*tensors))


def fill_parameter(backend: str, parameter: Any, values: Any) -> None:
    """Overwrite a native parameter, in float32 and in its shape."""
    array = np.asarray(values, np.float32).reshape(tuple(parameter.shape))
    if backend == "torch":
        parameter.data = to_tensor(backend, array)
    elif backend == "paddle":
        parameter.set_value(array)
    else:
        parameter.set_data(to_tensor(backend, array))


def plain_weights(spec: Spec) -> Arrays:
    """Canonical weights of zeros, except that normalisations return their input."""
    epsilon = getattr(spec, "norm_eps")  # noqa: B009  (every family with batch normalisation has it)
    values = {"norm_scale": 1.0, "norm_var": 1 - epsilon}
    return {
        name: np.full(weight.shape, values.get(weight.kind, 0.0), np.float32) for name, weight in spec.weights.items()
    }


def identity_weights(spec: Spec) -> Arrays:
    """Canonical weights with which normalisations and convolutions return their inputs.

    Output channel i of a convolution is the input channel i modulo their number, of its group.
    """
    weights = plain_weights(spec)
    for name, weight in spec.weights.items():
        if weight.kind == "conv":
            channels_out, channels_in, kernel, _ = weight.shape
            channels = np.arange(channels_out)
            weights[name][channels, channels % channels_in, kernel // 2, kernel // 2] = 1
    return weights


def random_images(shape: Shape, seed: int) -> np.ndarray:
    """Normally distributed images (N, C, H, W) in float64."""
    return np.random.default_rng(seed).standard_normal(shape)


def relative_error(output: np.ndarray, expected: np.ndarray) -> float:
    """The largest absolute difference as a fraction of the largest absolute expected value; both must be finite."""
    assert output.shape == expected.shape, (output.shape, expected.shape)
    assert np.isfinite(output).all() and np.isfinite(expected).all()
    assert expected.any()
    return float(np.abs(output - expected).max() / np.abs(expected).max())


def model_error(backend: str, ours: Any, theirs: Any, images: np.ndarray) -> float:
    """The relative error of our model's logits on a batch, with another package's model as the reference."""
    return relative_error(call(backend, ours, images), call(backend, theirs, images))


def _without_trailing_ones(shape: Iterable[int]) -> Shape:
    sides = list(shape)
    while len(sides) > 1 and sides[-1] == 1:
        sides.pop()
    return tuple(sides)


def _pairs(
    targets: Mapping[str, Any], arrays: Mapping[str, np.ndarray], rename: Callable[[str], str] | None
) -> list[tuple[Any, np.ndarray]]:
    """Every target with its array, reshaped where one of the two is a 1x1 convolution and the other a linear layer."""
    if rename is None:
        names = dict(zip(arrays, targets, strict=True))
        assert all(name.rpartition(".")[2] == target.rpartition(".")[2] for name, target in names.items()), names
    else:
        names = {name: rename(name) for name in arrays}
        assert len(set(names.values())) == len(names)
        assert set(names.values()) == set(targets), set(names.values()) ^ set(targets)
    pairs = []
    for name, array in arrays.items():
        target = targets[names[name]]
        shape = tuple(target.shape)
        assert _without_trailing_ones(shape) == _without_trailing_ones(array.shape), (name, names[name])
        pairs.append((target, array.reshape(shape)))
    return pairs


def fill_torch(model: Any, arrays: Arrays, rename: Callable[[str], str] | None = None) -> None:
    """Load canonical weights into another package's torch model: every weight, and nothing else.

    `rename` maps our names to the package's. Without it, both must list their weights in the order of the forward pass.
    """
    import torch

    targets = {name: value for name, value in model.state_dict().items() if not name.endswith("num_batches_tracked")}
    for target, array in _pairs(targets, arrays, rename):
        target.copy_(torch.from_numpy(array))


def fill_paddle(model: Any, arrays: Arrays, rename: Callable[[str], str] | None = None) -> None:
    """Load weights under Paddle's names and in its shapes into a model of paddle.vision; `rename` as for fill_torch."""
    for target, array in _pairs(model.state_dict(), arrays, rename):
        target.set_value(array.astype(target.numpy().dtype))


def fill_mindspore(model: Any, arrays: Arrays, rename: Callable[[str], str] | None = None) -> None:
    """Load weights under MindSpore's names into a model of MindCV; `rename` as for fill_torch."""
    for target, array in _pairs(model.parameters_dict(), arrays, rename):
        target.set_data(to_tensor("mindspore", array))


def weighted_cells(model: Any) -> list[Any]:
    """Convolutions, batch normalisations and linear layers of a MindSpore model, in the order of their definition."""
    from mindspore import nn

    return [cell for _, cell in model.cells_and_names() if isinstance(cell, nn.Conv2d | nn.BatchNorm2d | nn.Dense)]


def fill_mindspore_cells(cells: list[Any], spec: Spec, arrays: Arrays) -> None:
    """Load canonical weights into MindSpore layers listed in the order of the spec's operators."""
    from backends.mindspore.native_weights import NAMES

    for cell, operator in zip(cells, spec.trace().operators, strict=True):
        names = [name for name in arrays if name.rpartition(".")[0] == operator.name]
        targets = {parameter.name.rpartition(".")[2]: parameter for parameter in cell.get_parameters()}
        native = {name: NAMES.name(name, spec.weights[name]).rpartition(".")[2] for name in names}
        for target, array in _pairs(targets, {name: arrays[name] for name in names}, native.__getitem__):
            target.set_data(to_tensor("mindspore", array))
