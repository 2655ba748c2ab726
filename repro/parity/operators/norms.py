"""Normalisations."""

from __future__ import annotations

import numpy as np

from repro.arrays import Arrays
from repro.parity.operators.operator import Code, Input, Operator, Render, Setting, Settings, call, own_default

MAP = (2, 4, 3, 2)
AFFINE = ("x", "weight", "bias")


def _normalise(x: np.ndarray, axes: tuple[int, ...], eps: float) -> np.ndarray:
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


def _scale(x: np.ndarray, inputs: Arrays) -> np.ndarray:
    """The normalised map with the weight and the bias of each channel."""
    return x * inputs["weight"][:, None, None] + inputs["bias"][:, None, None]


def _batch_norm(inputs: Arrays, s: Settings) -> Arrays:
    x, mean, variance = inputs["x"], inputs["running_mean"], inputs["running_var"]
    if not s["training"]:
        scale = np.sqrt(variance + s["eps"])
        return {"y": _scale((x - mean[:, None, None]) / scale[:, None, None], inputs)}
    new = s["momentum"] if s["momentum_weighs"] == "new" else 1 - s["momentum"]
    count = x.size // x.shape[1]
    with np.errstate(invalid="ignore"):
        batch = x.var((0, 2, 3)) * (count / np.float64(count - 1) if s["running_variance"] == "unbiased" else 1)
    if count == 1 and s["single_value"] == "kept":
        return {"y": x, "running_mean": mean, "running_var": variance}
    return {
        "y": _scale(_normalise(x, (0, 2, 3), s["eps"]), inputs),
        "running_mean": (1 - new) * mean + new * x.mean((0, 2, 3)),
        "running_var": (1 - new) * variance + new * batch,
    }


def _layer_norm(inputs: Arrays, s: Settings) -> Arrays:
    return {"y": _normalise(inputs["x"], (-1,), s["eps"]) * inputs["weight"] + inputs["bias"]}


def _group_norm(inputs: Arrays, s: Settings) -> Arrays:
    x = inputs["x"]
    grouped = x.reshape(len(x), s["groups"], -1)
    return {"y": _scale(_normalise(grouped, (2,), s["eps"]).reshape(x.shape), inputs)}


def _instance_norm(inputs: Arrays, s: Settings) -> Arrays:
    return {"y": _scale(_normalise(inputs["x"], (2, 3), s["eps"]), inputs)}


def _local_response_norm(inputs: Arrays, s: Settings) -> Arrays:
    x, size = inputs["x"], s["size"]
    padded = np.pad(x**2, ((0, 0), (size // 2, (size - 1) // 2), (0, 0), (0, 0)))
    total = sum(padded[:, i : i + x.shape[1]] for i in range(size))
    return {"y": x / (s["k"] + s["alpha"] / (size if s["alpha_over"] == "size" else 1) * total) ** s["beta"]}


def _normalize(inputs: Arrays, s: Settings) -> Arrays:
    x, eps = inputs["x"], s["eps"]
    squares = (x**2).sum(1, keepdims=True)
    return {
        "y": x / (np.maximum(np.sqrt(squares), eps) if s["eps_bounds"] == "norm" else np.sqrt(np.maximum(squares, eps)))
    }


def _channel_inputs(settings: Settings) -> dict[str, Input]:
    channels = settings["shape"][1]
    return {"weight": Input((channels,)), "bias": Input((channels,))}


def _batch_norm_inputs(settings: Settings) -> dict[str, Input]:
    channels = settings["shape"][1]
    return _channel_inputs(settings) | {
        "running_mean": Input((channels,)),
        "running_var": Input((channels,), "1 + rng.random(shape)"),
    }


RUNNING = {"running_mean": "running_mean", "running_var": "running_var"}


def _batch_norm_code(function: str, eps: str) -> Render:
    def render(s: Settings) -> Code:
        y = call(
            function, "x", "running_mean", "running_var", "weight", "bias", training=s["training"],
            momentum=s["momentum"], **{eps: s["eps"]},
        )  # fmt: skip
        return Code(y, outputs=RUNNING if s["training"] else {})

    return render


def _mindspore_batch_norm(s: Settings) -> Code:
    layer = call("nn.BatchNorm2d", str(s["shape"][1]), eps=s["eps"], momentum=s["momentum"])
    names = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
    setup = [f"layer = {layer}", f"layer.set_train({s['training']})"]
    setup += [f"layer.{own}.set_data({name})" for own, name in names.items()]
    outputs = {"running_mean": "layer.moving_mean", "running_var": "layer.moving_variance"} if s["training"] else {}
    return Code("layer(x)", tuple(setup), {"weight": "layer.gamma", "bias": "layer.beta"}, outputs)


def _mindspore_layer_norm(s: Settings) -> Code:
    layer = call("nn.LayerNorm", f"({s['shape'][-1]},)", epsilon=s["eps"])
    setup = (f"layer = {layer}", "layer.gamma.set_data(weight)", "layer.beta.set_data(bias)")
    return Code("layer(x)", setup, {"weight": "layer.gamma", "bias": "layer.beta"})


def _mindspore_instance_norm(s: Settings) -> Code:
    layer = call("nn.InstanceNorm2d", str(s["shape"][1]), eps=s["eps"])
    setup = (f"layer = {layer}", "layer.set_train(True)", "layer.gamma.set_data(weight)", "layer.beta.set_data(bias)")
    return Code("layer(x)", setup, {"weight": "layer.gamma", "bias": "layer.beta"})


EPS = own_default("eps", 1e-5, 1e-5, 1e-5)

NORMS = (
    Operator(
        "batch_norm", _batch_norm,
        torch=_batch_norm_code("F.batch_norm", "eps"), paddle=_batch_norm_code("F.batch_norm", "epsilon"),
        mindspore=_mindspore_batch_norm,
        settings=(
            Setting("training", True, choices=(True, False)), EPS,
            own_default("momentum", 0.1, 0.9, 0.9),
            own_default("momentum_weighs", "new", "old", "old", fixed="torch paddle mindspore"),
            own_default("running_variance", "unbiased", "biased", "unbiased", fixed="torch paddle mindspore"),
            own_default("single_value", "refused", "kept", "normalised", fixed="torch paddle mindspore"),
        ),
        shape=MAP, inputs=_batch_norm_inputs, differentiable=AFFINE,
    ),
    Operator(
        "layer_norm", _layer_norm,
        torch=lambda s: call("F.layer_norm", "x", "x.shape[-1:]", "weight", "bias", eps=s["eps"]),
        paddle=lambda s: call("F.layer_norm", "x", "x.shape[-1:]", "weight", "bias", epsilon=s["eps"]),
        mindspore=_mindspore_layer_norm,
        settings=(own_default("eps", 1e-5, 1e-5, 1e-7),), shape=(2, 3, 8),
        inputs=lambda s: {"weight": Input(s["shape"][-1:]), "bias": Input(s["shape"][-1:])}, differentiable=AFFINE,
    ),
    Operator(
        "group_norm", _group_norm,
        torch=lambda s: call("F.group_norm", "x", str(s["groups"]), "weight", "bias", eps=s["eps"]),
        paddle=lambda s: call("F.group_norm", "x", str(s["groups"]), "weight=weight", "bias=bias", epsilon=s["eps"]),
        mindspore=lambda s: call("ops.group_norm", "x", str(s["groups"]), "weight", "bias", eps=s["eps"]),
        settings=(Setting("groups", 2), EPS), shape=MAP, inputs=_channel_inputs, differentiable=AFFINE,
    ),
    Operator(
        "instance_norm", _instance_norm,
        torch=lambda s: call("F.instance_norm", "x", "weight=weight", "bias=bias", eps=s["eps"]),
        paddle=lambda s: call("F.instance_norm", "x", "weight=weight", "bias=bias", eps=s["eps"]),
        mindspore=_mindspore_instance_norm,
        settings=(EPS,), shape=MAP, inputs=_channel_inputs, differentiable=AFFINE,
    ),
    Operator(
        "local_response_norm", _local_response_norm,
        torch=lambda s: call("F.local_response_norm", "x", size=s["size"], alpha=s["alpha"], beta=s["beta"], k=s["k"]),
        paddle=lambda s: call("F.local_response_norm", "x", size=s["size"], alpha=s["alpha"], beta=s["beta"], k=s["k"]),
        mindspore=lambda s: call(
            "ops.lrn", "x", depth_radius=s["size"] // 2, alpha=s["alpha"], beta=s["beta"], bias=s["k"]
        ),
        settings=(
            Setting("size", 5), own_default("alpha", 1e-4, 1e-4, 1.0), own_default("beta", 0.75, 0.75, 0.5),
            own_default("k", 1.0, 1.0, 1.0),
            own_default("alpha_over", "size", "size", "1", fixed="torch paddle mindspore"),
        ),
        shape=(1, 6, 2, 2),
    ),
    Operator(
        "normalize", _normalize,
        torch=lambda s: call("F.normalize", "x", eps=s["eps"]),
        paddle=lambda s: call("F.normalize", "x", epsilon=s["eps"]),
        mindspore=lambda s: call("ops.L2Normalize", axis=1, epsilon=s["eps"]) + "(x)",
        settings=(
            own_default("eps", 1e-12, 1e-12, 1e-4),
            own_default("eps_bounds", "norm", "norm", "square", fixed="torch paddle mindspore"),
        ),
        shape=(2, 8),
    ),
)  # fmt: skip
