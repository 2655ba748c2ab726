"""Activations and softmax: elementwise functions, which keep a NaN, and functions along an axis."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from repro.arrays import Arrays
from repro.parity.operators.operator import Operator, Setting, Settings, call, own_default

_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def elementwise(function: Callable[..., np.ndarray], *names: str) -> Callable[[Arrays, Settings], Arrays]:
    """A definition of y = function(x), with the settings of these names as further arguments."""
    return lambda inputs, settings: {"y": function(inputs["x"], *(settings[name] for name in names))}


def _same(function: str) -> Callable[[Settings], str]:
    """The code of a function of x without settings."""
    return lambda settings: call(function, "x")


def _plain(name: str, function: Callable[..., np.ndarray], mindspore: str = "", torch: str = "") -> Operator:
    """An elementwise operator without settings. mindspore, torch: other names of its function there."""
    return Operator(
        name,
        elementwise(function),
        torch=_same(f"F.{torch or name}"),
        paddle=_same(f"F.{name}"),
        mindspore=_same(f"ops.{mindspore or name}"),
    )


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -x))


def _softplus(x: np.ndarray, beta: float = 1, threshold: float = math.inf) -> np.ndarray:
    return np.where(beta * x > threshold, x, np.logaddexp(0, beta * x) / beta)


def _gelu(x: np.ndarray, approximate: str) -> np.ndarray:
    if approximate == "tanh":
        return x * _sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
    return x * 0.5 * _erfc(-x / math.sqrt(2))


def _softmax(x: np.ndarray, axis: int) -> np.ndarray:
    return np.exp(_log_softmax(x, axis))


def _log_softmax(x: np.ndarray, axis: int) -> np.ndarray:
    shifted = x - x.max(axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis, keepdims=True))


def _along_axis(name: str, function: Callable[..., np.ndarray]) -> Operator:
    """An operator along an axis, the last one unless it is set."""
    return Operator(
        name,
        elementwise(function, "axis"),
        torch=lambda s: call(f"F.{name}", "x", dim=s["axis"]),
        paddle=lambda s: call(f"F.{name}", "x", axis=s["axis"]),
        mindspore=lambda s: call(f"ops.{name}", "x", axis=s["axis"]),
        settings=(Setting("axis", -1),),
    )


def _mindspore_gelu(settings: Settings) -> str:
    approximate = settings["approximate"]
    return call("nn.GELU", approximate=None if approximate is None else approximate == "tanh") + "(x)"


ACTIVATIONS = (
    _plain("relu", lambda x: np.maximum(x, 0)),
    _plain("relu6", lambda x: np.clip(x, 0, 6)),
    _plain("hardswish", lambda x: x * np.clip(x + 3, 0, 6) / 6),
    _plain("sigmoid", _sigmoid),
    _plain("tanh", np.tanh),
    _plain("silu", lambda x: x * _sigmoid(x)),
    _plain("mish", lambda x: x * np.tanh(_softplus(x))),
    _plain("log_sigmoid", lambda x: -np.logaddexp(0, -x), "logsigmoid", "logsigmoid"),
    _plain("softsign", lambda x: x / (1 + np.abs(x))),
    Operator(
        "hardsigmoid",
        elementwise(lambda x, slope: np.clip(slope * x + 0.5, 0, 1), "slope"),
        torch=_same("F.hardsigmoid"),
        paddle=lambda s: call("F.hardsigmoid", "x", slope=s["slope"]),
        mindspore=_same("ops.hardsigmoid"),
        settings=(own_default("slope", 1 / 6, 0.1666667, 1 / 6, fixed="torch mindspore"),),
    ),
    Operator(
        "gelu",
        elementwise(_gelu, "approximate"),
        torch=lambda s: call("F.gelu", "x", approximate=s["approximate"]),
        paddle=lambda s: call("F.gelu", "x", approximate=s["approximate"]),
        mindspore=_mindspore_gelu,
        settings=(own_default("approximate", "none", "none", "tanh", "none", "tanh"),),
    ),
    Operator(
        "leaky_relu",
        elementwise(lambda x, slope: np.where(x >= 0, x, slope * x), "negative_slope"),
        torch=lambda s: call("F.leaky_relu", "x", negative_slope=s["negative_slope"]),
        paddle=lambda s: call("F.leaky_relu", "x", negative_slope=s["negative_slope"]),
        mindspore=lambda s: call("nn.LeakyReLU", alpha=s["negative_slope"]) + "(x)",
        settings=(own_default("negative_slope", 0.01, 0.01, 0.2),),
    ),
    Operator(
        "elu",
        elementwise(lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))), "alpha"),
        torch=lambda s: call("F.elu", "x", alpha=s["alpha"]),
        paddle=lambda s: call("F.elu", "x", alpha=s["alpha"]),
        mindspore=lambda s: call("ops.elu", "x", alpha=s["alpha"]),
        settings=(own_default("alpha", 1.0, 1.0, 1.0),),
    ),
    Operator(
        "softplus",
        elementwise(_softplus, "beta", "threshold"),
        torch=lambda s: call("F.softplus", "x", beta=s["beta"], threshold=s["threshold"]),
        paddle=lambda s: call("F.softplus", "x", beta=s["beta"], threshold=s["threshold"]),
        mindspore=lambda s: call("ops.softplus", "x", beta=s["beta"], threshold=s["threshold"]),
        settings=(own_default("beta", 1, 1, 1), own_default("threshold", 20, 20, 20)),
    ),
    Operator(
        "hardtanh",
        elementwise(np.clip, "min", "max"),
        torch=lambda s: call("F.hardtanh", "x", min_val=s["min"], max_val=s["max"]),
        paddle=lambda s: call("F.hardtanh", "x", min=s["min"], max=s["max"]),
        mindspore=lambda s: call("ops.hardtanh", "x", min_val=s["min"], max_val=s["max"]),
        settings=(own_default("min", -1.0, -1.0, -1.0), own_default("max", 1.0, 1.0, 1.0)),
    ),
    Operator(
        "clip",
        elementwise(np.clip, "min", "max"),
        torch=lambda s: call("torch.clamp", "x", min=s["min"], max=s["max"]),
        paddle=lambda s: call("paddle.clip", "x", min=s["min"], max=s["max"]),
        mindspore=lambda s: call("ops.clamp", "x", min=s["min"], max=s["max"]),
        settings=(Setting("min", -1.0), Setting("max", 1.0)),
    ),
    Operator(
        "hardshrink",
        elementwise(lambda x, limit: np.where(np.abs(x) <= limit, 0.0, x), "limit"),
        torch=lambda s: call("F.hardshrink", "x", lambd=s["limit"]),
        paddle=lambda s: call("F.hardshrink", "x", threshold=s["limit"]),
        mindspore=lambda s: call("ops.hardshrink", "x", lambd=s["limit"]),
        settings=(own_default("limit", 0.5, 0.5, 0.5),),
    ),
    Operator(
        "softshrink",
        elementwise(lambda x, limit: np.where(np.abs(x) <= limit, 0.0, x - np.sign(x) * limit), "limit"),
        torch=lambda s: call("F.softshrink", "x", lambd=s["limit"]),
        paddle=lambda s: call("F.softshrink", "x", threshold=s["limit"]),
        mindspore=lambda s: call("ops.softshrink", "x", lambd=s["limit"]),
        settings=(own_default("limit", 0.5, 0.5, 0.5),),
    ),
    _along_axis("softmax", _softmax),
    _along_axis("log_softmax", _log_softmax),
)  # fmt: skip
