"""Convolutions, linear layers, and the product of matrices."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np

from repro.arrays import Arrays
from repro.parity.operators.operator import (
    Code,
    Input,
    Operator,
    Render,
    Setting,
    Settings,
    call,
    own_default,
)

OUTPUT_CHANNELS = 2


def pair(value: Any) -> tuple[int, int]:
    """A setting of height and width, where one number stands for both."""
    return value if isinstance(value, tuple) else (value, value)


def _borders(size: int, kernel: int, stride: int, dilation: int, padding: Any) -> tuple[int, int]:
    """The padding before and after an axis. "same" pads the odd pixel at the end."""
    if padding == "same":
        extent = dilation * (kernel - 1) + 1
        total = max((math.ceil(size / stride) - 1) * stride + extent - size, 0)
        return total // 2, total - total // 2
    return (0, 0) if padding == "valid" else (padding, padding)


def _conv2d(inputs: Arrays, s: Settings) -> Arrays:
    x, weight = inputs["x"], inputs["weight"]
    strides, dilations, groups = pair(s["stride"]), pair(s["dilation"]), s["groups"]
    paddings = (s["padding"],) * 2 if isinstance(s["padding"], str) else pair(s["padding"])
    kernel = weight.shape[2:]
    borders = [_borders(*numbers) for numbers in zip(x.shape[2:], kernel, strides, dilations, paddings, strict=True)]
    padded = np.pad(x, ((0, 0), (0, 0), *borders))
    sizes = [
        (n - d * (k - 1) - 1) // step + 1
        for n, d, k, step in zip(padded.shape[2:], dilations, kernel, strides, strict=True)
    ]
    taps = [
        padded[:, :, row * dilations[0] :, column * dilations[1] :][
            :, :, : sizes[0] * strides[0] : strides[0], : sizes[1] * strides[1] : strides[1]
        ]
        for row, column in product(range(kernel[0]), range(kernel[1]))
    ]
    patches = np.stack(taps, 2).reshape(len(x), groups, -1, *sizes)
    kernels = weight.reshape(groups, weight.shape[0] // groups, -1)
    y = np.einsum("nghij,goh->ngoij", patches, kernels).reshape(len(x), -1, *sizes)
    return {"y": y + inputs["bias"][:, None, None] if s["bias"] else y}


def _conv_transpose2d(inputs: Arrays, s: Settings) -> Arrays:
    x, weight, groups = inputs["x"], inputs["weight"], s["groups"]
    strides, extra = pair(s["stride"]), pair(s["output_padding"])
    kernel, shape = weight.shape[2:], x.shape[2:]
    full = np.zeros((len(x), weight.shape[1] * groups, *(
        (n - 1) * step + max(k, step) + e for n, step, k, e in zip(shape, strides, kernel, extra, strict=True)
    )), x.dtype)  # fmt: skip
    grouped = x.reshape(len(x), groups, -1, *shape)
    kernels = weight.reshape(groups, -1, *weight.shape[1:])
    for row, column in product(range(kernel[0]), range(kernel[1])):
        part = np.einsum("ngcij,gco->ngoij", grouped, kernels[..., row, column]).reshape(len(x), -1, *shape)
        full[
            :, :, row : row + shape[0] * strides[0] : strides[0], column : column + shape[1] * strides[1] : strides[1]
        ] += part
    slices = []
    for n, step, k, e, padding in zip(shape, strides, kernel, extra, pair(s["padding"]), strict=True):
        slices.append(slice(padding, (n - 1) * step + k + e - padding))
    y = full[:, :, slices[0], slices[1]]
    return {"y": y + inputs["bias"][:, None, None] if s["bias"] else y}


def _conv_inputs(settings: Settings, *, transposed: bool = False) -> dict[str, Input]:
    channels, groups = settings["shape"][1], settings["groups"]
    outputs = channels if groups == channels else OUTPUT_CHANNELS
    first, second = (channels, outputs // groups) if transposed else (outputs, channels // groups)
    return {"weight": Input((first, second, *pair(settings["kernel"]))), "bias": Input((outputs,))}


def _functional(function: str, *names: str) -> Render:
    def render(settings: Settings) -> str:
        bias = [] if settings["bias"] is False else ["bias"]
        return call(function, "x", "weight", *bias, **{name: settings[name] for name in names})

    return render


def _mindspore_layer(layer: str, *, transposed: bool = False) -> Render:
    def render(s: Settings) -> Code:
        outputs = _conv_inputs(s, transposed=transposed)["bias"].shape[0]
        padding = s["padding"]
        mode = padding if isinstance(padding, str) else None if padding is None else "pad"
        amount = None if padding is None or isinstance(padding, str) else padding
        if isinstance(amount, tuple):
            amount = (amount[0], amount[0], amount[1], amount[1])
        optional = {"output_padding": s["output_padding"] or None} if transposed else {}
        create = call(
            f"nn.{layer}", str(s["shape"][1]), str(outputs), str(pair(s["kernel"])),
            stride=s["stride"], pad_mode=mode, padding=amount, dilation=s.get("dilation"), group=s["groups"],
            has_bias=s["bias"], **optional,
        )  # fmt: skip
        setup = [f"layer = {create}", "layer.weight.set_data(weight)"]
        parameters = {"weight": "layer.weight"}
        if s["bias"]:
            setup.append("layer.bias.set_data(bias)")
            parameters["bias"] = "layer.bias"
        return Code("layer(x)", tuple(setup), parameters)

    return render


COMMON = (Setting("kernel", 3), Setting("stride", 1))
GROUPS = Setting("groups", 1)
BIAS = own_default("bias", True, True, False, True, False)
DIFFERENTIABLE = ("x", "weight", "bias")
NAMES = ("stride", "padding", "dilation", "groups")


def _linear(inputs: Arrays, settings: Settings) -> Arrays:
    return {"y": inputs["x"] @ inputs["weight"].T + inputs["bias"]}


CONVOLUTIONS = (
    Operator(
        "conv2d", _conv2d,
        torch=_functional("F.conv2d", *NAMES), paddle=_functional("F.conv2d", *NAMES),
        mindspore=_mindspore_layer("Conv2d"),
        settings=(
            *COMMON, own_default("padding", 0, 0, "same", words="same valid"), Setting("dilation", 1), GROUPS, BIAS,
        ),
        shape=(1, 2, 5, 4), inputs=_conv_inputs, differentiable=DIFFERENTIABLE,
    ),
    Operator(
        "conv_transpose2d", _conv_transpose2d,
        torch=_functional("F.conv_transpose2d", "stride", "padding", "output_padding", "groups"),
        paddle=_functional("F.conv2d_transpose", "stride", "padding", "output_padding", "groups"),
        mindspore=_mindspore_layer("Conv2dTranspose", transposed=True),
        settings=(*COMMON, Setting("padding", 0), Setting("output_padding", 0), GROUPS, BIAS),
        shape=(1, 2, 3, 4), inputs=lambda s: _conv_inputs(s, transposed=True), differentiable=DIFFERENTIABLE,
    ),
    Operator(
        "linear", _linear,
        torch=lambda s: "F.linear(x, weight, bias)",
        paddle=lambda s: "F.linear(x, weight.T, bias)",
        mindspore=lambda s: "ops.dense(x, weight, bias)",
        settings=(Setting("features", 5),), shape=(2, 8),
        inputs=lambda s: {"weight": Input((s["features"], s["shape"][-1])), "bias": Input((s["features"],))},
        differentiable=DIFFERENTIABLE,
    ),
    Operator(
        "matmul", lambda inputs, s: {"y": inputs["x"] @ inputs["other"]},
        torch=lambda s: "torch.matmul(x, other)",
        paddle=lambda s: "paddle.matmul(x, other)",
        mindspore=lambda s: "ops.matmul(x, other)",
        settings=(Setting("columns", 3),), shape=(2, 5),
        inputs=lambda s: {"other": Input((s["shape"][-1], s["columns"]))},
        differentiable=("x", "other"),
    ),
)  # fmt: skip
