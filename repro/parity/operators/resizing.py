"""Resizing, padding and shuffling of maps (N, C, H, W)."""

from __future__ import annotations

import math

import numpy as np

from repro.arrays import Arrays
from repro.parity.operators.convolutions import pair
from repro.parity.operators.operator import Operator, Setting, Settings, call, own_default

MAP = (1, 2, 4, 5)
PAD_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}  # ours: NumPy's


def _position(index: int, size: int, target: int, s: Settings) -> float:
    """The position of an output pixel between the input pixels."""
    if s["align_corners"] and s["mode"] != "nearest":
        return index * (size - 1) / (target - 1) if target > 1 else 0.0
    half_pixel = s["mode"] == "bicubic" or (s["mode"] == "bilinear" and s["half_pixel"])
    return (index + 0.5) * size / target - 0.5 if half_pixel else index * size / target


def _cubic(distance: float, a: float) -> float:
    """The weight of a pixel at this distance."""
    t = abs(distance)
    if t <= 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    return a * (t**3 - 5 * t**2 + 8 * t - 4) if t < 2 else 0.0


def _matrix(size: int, target: int, s: Settings) -> np.ndarray:
    """The weights (target, size) of the input pixels along an axis."""
    weights = np.zeros((target, size))
    for index in range(target):
        position = _position(index, size, target, s)
        if s["mode"] == "nearest":
            taps = {math.floor(position): 1.0}
        elif s["mode"] == "bilinear":
            position = max(position, 0.0)
            first = math.floor(position)
            taps = {first: 1 - (position - first), first + 1: position - first}
        else:
            first = math.floor(position)
            taps = {i: _cubic(position - i, s["cubic"]) for i in range(first - 1, first + 3)}
        for pixel, weight in taps.items():
            weights[index, min(max(pixel, 0), size - 1)] += weight
    return weights


def _interpolate(inputs: Arrays, s: Settings) -> Arrays:
    x = inputs["x"]
    rows, columns = (_matrix(size, target, s) for size, target in zip(x.shape[2:], pair(s["size"]), strict=True))
    return {"y": np.einsum("ih,nchw,jw->ncij", rows, x, columns)}


def _pad(inputs: Arrays, s: Settings) -> Arrays:
    rows, columns = pair(s["padding"])
    widths = ((0, 0), (0, 0), (rows, rows), (columns, columns))
    constants = {"constant_values": s["value"]} if s["mode"] == "constant" else {}
    return {"y": np.pad(inputs["x"], widths, PAD_MODES[s["mode"]], **constants)}  # type: ignore[call-overload]


def _pad_call(function: str, s: Settings) -> str:
    rows, columns = pair(s["padding"])
    value = s["value"] if s["mode"] == "constant" else None
    return call(function, "x", str([columns, columns, rows, rows]), mode=s["mode"], value=value)


def _pixel_shuffle(inputs: Arrays, s: Settings) -> Arrays:
    x, factor = inputs["x"], s["factor"]
    n, c, h, w = x.shape
    blocks = x.reshape(n, c // factor**2, factor, factor, h, w).transpose(0, 1, 4, 2, 5, 3)
    return {"y": blocks.reshape(n, c // factor**2, h * factor, w * factor)}


def _channel_shuffle(inputs: Arrays, s: Settings) -> Arrays:
    x = inputs["x"]
    return {"y": x.reshape(len(x), s["groups"], -1, *x.shape[2:]).swapaxes(1, 2).reshape(x.shape)}


def _corners(s: Settings) -> bool | None:
    return None if s["mode"] == "nearest" else s["align_corners"]


RESIZING = (
    Operator(
        "interpolate", _interpolate,
        torch=lambda s: call("F.interpolate", "x", size=s["size"], mode=s["mode"], align_corners=_corners(s)),
        paddle=lambda s: call(
            "F.interpolate", "x", size=s["size"], mode=s["mode"], align_corners=_corners(s),
            align_mode=None if s["half_pixel"] is None else int(not s["half_pixel"]),
        ),
        mindspore=lambda s: call(
            "ops.interpolate", "x", size=pair(s["size"]), mode=s["mode"], align_corners=_corners(s)
        ),
        settings=(
            Setting("size", (6, 7)), Setting("mode", "nearest", choices=("nearest", "bilinear", "bicubic")),
            own_default("align_corners", False, False, False, False, True),
            own_default("half_pixel", True, True, True, True, False, fixed="torch mindspore"),
            own_default("cubic", -0.75, -0.75, -0.75, fixed="torch paddle mindspore"),
        ),
        shape=MAP,
    ),
    Operator(
        "pad", _pad,
        torch=lambda s: _pad_call("F.pad", s), paddle=lambda s: _pad_call("F.pad", s),
        mindspore=lambda s: _pad_call("ops.pad", s),
        settings=(
            Setting("padding", (1, 2)), Setting("mode", "constant", choices=tuple(PAD_MODES)),
            own_default("value", 0.0, 0.0, 0.0),
        ),
        shape=MAP,
    ),
    Operator(
        "pixel_shuffle", _pixel_shuffle,
        torch=lambda s: f"F.pixel_shuffle(x, {s['factor']})", paddle=lambda s: f"F.pixel_shuffle(x, {s['factor']})",
        mindspore=lambda s: f"ops.pixel_shuffle(x, {s['factor']})",
        settings=(Setting("factor", 2),), shape=(1, 8, 2, 3),
    ),
    Operator(
        "channel_shuffle", _channel_shuffle,
        torch=lambda s: f"F.channel_shuffle(x, {s['groups']})", paddle=lambda s: f"F.channel_shuffle(x, {s['groups']})",
        mindspore=lambda s: f"ops.channel_shuffle(x, {s['groups']})",
        settings=(Setting("groups", 2),), shape=(1, 6, 2, 2),
    ),
)  # fmt: skip
