"""Reductions, rounding and other arithmetic, and dropout in evaluation mode."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from repro.arrays import Arrays
from repro.parity.operators.activations import elementwise
from repro.parity.operators.operator import Input, Operator, Setting, Settings, call, own_default

POSITIVE = "rng.uniform(0.5, 2, shape)"


def _spread(function: Callable[..., np.ndarray]) -> Callable[[Arrays, Settings], Arrays]:
    return lambda inputs, s: {"y": function(inputs["x"], axis=s["axis"], ddof=int(s["unbiased"]))}


def _spread_operator(name: str, function: Callable[..., np.ndarray]) -> Operator:
    return Operator(
        name,
        _spread(function),
        torch=lambda s: call(f"torch.{name}", "x", dim=s["axis"], unbiased=s["unbiased"]),
        paddle=lambda s: call(f"paddle.{name}", "x", axis=s["axis"], unbiased=s["unbiased"]),
        mindspore=lambda s: call(f"ops.{name}", "x", axis=s["axis"], ddof=s["unbiased"]),
        settings=(Setting("axis", -1), own_default("unbiased", True, True, False, True, False)),
    )


def _along_axis(name: str, function: Callable[..., np.ndarray], *, differentiable: bool = True) -> Operator:
    return Operator(
        name,
        lambda inputs, s: {"y": function(inputs["x"], axis=s["axis"])},
        torch=lambda s: call(f"torch.{name}", "x", dim=s["axis"]),
        paddle=lambda s: call(f"paddle.{name}", "x", axis=s["axis"]),
        mindspore=lambda s: call(f"ops.{name}", "x", **{"dim" if name in ("argmax", "sum") else "axis": s["axis"]}),
        settings=(Setting("axis", -1),),
        differentiable=("x",) if differentiable else (),
    )


def _of_x(name: str, function: Callable[..., np.ndarray], numbers: str = "rng.standard_normal(shape)") -> Operator:
    """An elementwise operator that every framework has under this name."""
    return Operator(
        name,
        elementwise(function),
        torch=lambda s: f"torch.{name}(x)",
        paddle=lambda s: f"paddle.{name}(x)",
        mindspore=lambda s: f"ops.{name}(x)",
        numbers=numbers,
    )


def _of_two(name: str, function: Callable[..., np.ndarray]) -> Operator:
    """An elementwise operator of x and another input that every framework has under this name."""
    return Operator(
        name,
        lambda inputs, s: {"y": function(inputs["x"], inputs["other"])},
        torch=lambda s: f"torch.{name}(x, other)",
        paddle=lambda s: f"paddle.{name}(x, other)",
        mindspore=lambda s: f"ops.{name}(x, other)",
        inputs=lambda s: {"other": Input(s["shape"])},
        differentiable=("x", "other"),
    )


def _dropout(inputs: Arrays, s: Settings) -> Arrays:
    return {"y": inputs["x"] * (1 - s["p"] if s["mode"] == "downscale_in_infer" else 1)}


ARITHMETIC = (
    _along_axis("mean", np.mean),
    _along_axis("sum", np.sum),
    _along_axis("cumsum", np.cumsum),
    _along_axis("argmax", np.argmax, differentiable=False),
    _spread_operator("var", np.var),
    _spread_operator("std", np.std),
    _of_x("round", np.round, "4 * rng.standard_normal(shape)"),
    _of_x("exp", np.exp),
    _of_x("log", np.log, POSITIVE),
    _of_x("sqrt", np.sqrt, POSITIVE),
    _of_x("rsqrt", lambda x: 1 / np.sqrt(x), POSITIVE),
    _of_x("abs", np.abs),
    _of_x("reciprocal", lambda x: 1 / x, POSITIVE),
    _of_two("maximum", np.maximum),
    _of_two("minimum", np.minimum),
    Operator(
        "dropout_in_evaluation",
        _dropout,
        torch=lambda s: call("F.dropout", "x", p=s["p"], training=False),
        paddle=lambda s: call("F.dropout", "x", p=s["p"], training=False, mode=s["mode"]),
        mindspore=lambda s: call("ops.dropout", "x", p=s["p"], training=False),
        settings=(
            own_default("p", 0.5, 0.5, 0.5),
            own_default(
                "mode", *["upscale_in_train"] * 3, "upscale_in_train", "downscale_in_infer", fixed="torch mindspore"
            ),
        ),
    ),
)
