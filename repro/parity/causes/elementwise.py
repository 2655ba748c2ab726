"""The activation functions of networks in NumPy, under the formulas that name them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

Function = Callable[[np.ndarray], np.ndarray]

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(x, 0)


def _erf(x: np.ndarray) -> np.ndarray:
    return np.vectorize(math.erf, otypes=[np.float64])(x) if x.size else x


def _elu(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def _hardsigmoid(x: np.ndarray, slope: float = 1 / 6) -> np.ndarray:
    return np.clip(slope * x + 0.5, 0, 1)


ELEMENTWISE: dict[str, Function] = {
    "{}": lambda x: x,
    "relu({})": lambda x: np.maximum(x, 0),
    "sigmoid({})": _sigmoid,
    "tanh({})": np.tanh,
    "silu({})": lambda x: x * _sigmoid(x),
    "gelu({})": lambda x: 0.5 * x * (1 + _erf(x / math.sqrt(2))),
    "gelu({}, tanh approximation)": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "gelu({}, sigmoid approximation)": lambda x: x * _sigmoid(1.702 * x),
    "relu6({})": lambda x: np.clip(x, 0, 6),
    "hardswish({})": lambda x: x * _hardsigmoid(x),
    "hardsigmoid({})": _hardsigmoid,
    "hardsigmoid({}, slope 0.2)": lambda x: _hardsigmoid(x, 0.2),
    "mish({})": lambda x: x * np.tanh(_softplus(x)),
    "elu({})": _elu,
    "selu({})": lambda x: SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * np.expm1(np.minimum(x, 0))),
    "celu({}, 0.5)": lambda x: np.where(x > 0, x, 0.5 * np.expm1(np.minimum(x, 0) / 0.5)),
    "softplus({})": _softplus,
    "softsign({})": lambda x: x / (1 + np.abs(x)),
    "hardtanh({})": lambda x: np.clip(x, -1, 1),
    "tanhshrink({})": lambda x: x - np.tanh(x),
    "softshrink({}, 0.5)": lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0),
    "log_sigmoid({})": lambda x: -_softplus(-x),
    "square(relu({}))": lambda x: np.maximum(x, 0) ** 2,
    "abs({})": np.abs,
    "square({})": np.square,
    "exp({})": np.exp,
    "-{}": np.negative,
    "relu(-{})": lambda x: np.maximum(-x, 0),
}

# What a gate, or one side of a sum, commonly is
GATES: dict[str, Function] = {
    name: ELEMENTWISE[name]
    for name in ("{}", "relu({})", "sigmoid({})", "tanh({})", "silu({})", "gelu({})", "gelu({}, tanh approximation)",
                 "relu6({})", "hardswish({})", "hardsigmoid({})", "hardsigmoid({}, slope 0.2)", "mish({})", "elu({})",
                 "softplus({})", "-{}")
}  # fmt: skip


def along_axes(rank: int) -> Iterator[tuple[str, Function]]:
    """Softmax and normalisations along each axis of an array."""
    for axis in range(rank):
        yield f"softmax({{}}, axis {axis})", partial(softmax, axis=axis)
        yield f"log_softmax({{}}, axis {axis})", partial(_log_softmax, axis=axis)
        for order in (2, 1):
            yield f"{{}} / (L{order} norm along axis {axis})", partial(_normalise, axis=axis, order=order)


def softmax(x: np.ndarray, *, axis: int) -> np.ndarray:
    """The softmax of an array along an axis."""
    exponentials = np.exp(x - x.max(axis, keepdims=True))
    return exponentials / exponentials.sum(axis, keepdims=True)


def _log_softmax(x: np.ndarray, *, axis: int) -> np.ndarray:
    shifted = x - x.max(axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis, keepdims=True))


def _normalise(x: np.ndarray, *, axis: int, order: int) -> np.ndarray:
    size = (np.abs(x) ** order).sum(axis, keepdims=True) ** (1 / order)
    return x / np.maximum(size, 1e-12)


def leaky_slope(x: np.ndarray, target: np.ndarray) -> float | None:
    """The slope of the leaky ReLU that gives the target, or None."""
    negative = x < 0
    if not negative.any() or not (~negative).any() or x.shape != target.shape:
        return None
    size = float(np.abs(target).max())
    slope = float((x * target)[negative].sum() / np.square(x[negative]).sum())
    if np.abs(target - np.where(negative, slope * x, x)).max() > 1e-5 * size or abs(slope) < 1e-4 or slope > 0.99:
        return None
    return slope
