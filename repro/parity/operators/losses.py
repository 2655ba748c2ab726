"""Losses."""

from __future__ import annotations

from typing import Any

import numpy as np

from repro.arrays import Arrays
from repro.parity.operators.operator import Input, Operator, Setting, Settings, call, own_default

LOGITS = (4, 5)


def _reduce(losses: np.ndarray, reduction: str, count: Any = None) -> np.ndarray:
    if reduction == "none":
        return losses
    return losses.sum() / (1 if reduction == "sum" else losses.size if count is None else count)


def _log_softmax(x: np.ndarray) -> np.ndarray:
    shifted = x - x.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def _cross_entropy(inputs: Arrays, s: Settings) -> Arrays:
    logs, labels = _log_softmax(inputs["x"]), inputs["labels"].astype(int)
    counted = labels != s["ignore_index"]
    smoothed = np.full(logs.shape, s["label_smoothing"] / logs.shape[1])
    smoothed[np.arange(len(labels)), np.maximum(labels, 0)] += 1 - s["label_smoothing"]
    losses = np.where(counted, -(np.where(smoothed > 0, smoothed * logs, 0)).sum(1), 0.0)
    return {"y": _reduce(losses, s["reduction"], counted.sum())}


def _soft_cross_entropy(inputs: Arrays, s: Settings) -> Arrays:
    return {"y": _reduce(-(inputs["targets"] * _log_softmax(inputs["x"])).sum(1), s["reduction"])}


def _smooth_l1(inputs: Arrays, s: Settings) -> Arrays:
    distance, beta = np.abs(inputs["x"] - inputs["target"]), s["beta"]
    scale = 1 if s["form"] == "smooth" else beta
    losses = np.where(distance < beta, 0.5 * distance**2 / beta, distance - 0.5 * beta) * scale
    return {"y": _reduce(losses, s["reduction"])}


def _binary_cross_entropy(inputs: Arrays, s: Settings) -> Arrays:
    x, target = inputs["x"], inputs["target"]
    with np.errstate(divide="ignore"):
        logs, others = np.log(x), np.log1p(-x)
    if s["guard"] == "clamp":
        logs, others = np.maximum(logs, -100), np.maximum(others, -100)
    else:
        logs, others = np.log(x + 1e-12), np.log(1 - x + 1e-12)
    return {"y": _reduce(-(target * logs + (1 - target) * others), s["reduction"])}


def _cross_entropy_call(s: Settings, labels: str) -> str:
    return call(
        "F.cross_entropy", "x", labels, label_smoothing=s["label_smoothing"], ignore_index=s["ignore_index"],
        reduction=s["reduction"],
    )  # fmt: skip


REDUCTIONS = ("mean", "sum", "none")
MEAN = own_default("reduction", "mean", "mean", "mean", *REDUCTIONS)

LOSSES = (
    Operator(
        "cross_entropy", _cross_entropy,
        torch=lambda s: _cross_entropy_call(s, "labels"), paddle=lambda s: _cross_entropy_call(s, "labels"),
        mindspore=lambda s: _cross_entropy_call(s, "labels.astype(ms.int32)").replace("F.", "ops."),
        settings=(
            own_default("label_smoothing", 0.0, 0.0, 0.0), own_default("ignore_index", -100, -100, -100), MEAN,
        ),
        shape=LOGITS,
        inputs=lambda s: {"labels": Input(s["shape"][:1], f"np.arange(*shape) % min({s['shape'][1]}, 3)", "int64")},
    ),
    Operator(
        "soft_cross_entropy", _soft_cross_entropy,
        torch=lambda s: call("F.cross_entropy", "x", "targets", reduction=s["reduction"]),
        paddle=lambda s: call("F.cross_entropy", "x", "targets", soft_label=True, reduction=s["reduction"]),
        mindspore=lambda s: call("ops.cross_entropy", "x", "targets", reduction=s["reduction"]),
        settings=(MEAN, Setting("sum", 1.0)), shape=LOGITS,
        inputs=lambda s: {"targets": Input(s["shape"], f"{s['sum']} * rng.dirichlet(np.ones(shape[1]), shape[0])")},
    ),
    Operator(
        "smooth_l1_loss", _smooth_l1,
        torch=lambda s: call("F.smooth_l1_loss", "x", "target", beta=s["beta"], reduction=s["reduction"]),
        paddle=lambda s: call("F.smooth_l1_loss", "x", "target", delta=s["beta"], reduction=s["reduction"]),
        mindspore=lambda s: call("ops.smooth_l1_loss", "x", "target", beta=s["beta"], reduction=s["reduction"]),
        settings=(
            own_default("beta", 1.0, 1.0, 1.0), own_default("reduction", "mean", "mean", "none", *REDUCTIONS),
            own_default("form", "smooth", "huber", "smooth", fixed="torch paddle mindspore"),
        ),
        shape=LOGITS, inputs=lambda s: {"target": Input(s["shape"])},
    ),
    Operator(
        "binary_cross_entropy", _binary_cross_entropy,
        torch=lambda s: call("F.binary_cross_entropy", "x", "target", reduction=s["reduction"]),
        paddle=lambda s: call("F.binary_cross_entropy", "x", "target", reduction=s["reduction"]),
        mindspore=lambda s: call(
            "ops.binary_cross_entropy", "x", "target", "ops.ones_like(target)", reduction=s["reduction"]
        ),
        settings=(MEAN, own_default("guard", "clamp", "add", "add", fixed="torch paddle mindspore")),
        shape=LOGITS, numbers="rng.uniform(0.1, 0.9, shape)",
        inputs=lambda s: {"target": Input(s["shape"], "rng.integers(0, 2, shape)")},
    ),
)  # fmt: skip
