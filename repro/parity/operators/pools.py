"""Pooling: windows that move over a map, and adaptive pooling to a given size."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np

from repro.arrays import Arrays
from repro.parity.operators.convolutions import pair
from repro.parity.operators.operator import Code, Operator, Setting, Settings, call, own_default


def _windows(size: int, kernel: int, stride: int, padding: int, s: Settings) -> list[tuple[int, int]]:
    """The first and last index of each window along an axis, before the padding is cut off."""
    span = size + 2 * padding - kernel
    count = (-(-span // stride) if s["ceil_mode"] else span // stride) + 1
    if s["ceil_mode"] and s["last_window"] == "inside" and (count - 1) * stride >= size + padding:
        count -= 1  # it would begin in the padding on the right
    return [(i * stride - padding, i * stride - padding + kernel) for i in range(count)]


def _pool(x: np.ndarray, s: Settings, reduce: Callable[[np.ndarray, int], Any]) -> Arrays:
    """reduce: the values of a window inside the map, and the number of its positions that count -> a value."""
    kernels, paddings = pair(s["kernel"]), pair(s["padding"])
    strides = kernels if s["stride"] == "kernel" else pair(s["stride"])
    rows, columns = (_windows(*numbers, s) for numbers in zip(x.shape[2:], kernels, strides, paddings, strict=True))
    y = np.zeros((*x.shape[:2], len(rows), len(columns)))
    for (i, row), (j, column) in product(enumerate(rows), enumerate(columns)):
        bounds = list(zip((row, column), x.shape[2:], paddings, strict=True))
        inside = [slice(max(low, 0), max(min(high, size), 0)) for (low, high), size, _ in bounds]
        counted = 1
        for (low, high), size, padding in bounds:
            counted *= min(high, size + padding) - low  # what ceil_mode adds after the padding does not count
        values = x[:, :, inside[0], inside[1]].reshape(*x.shape[:2], -1)
        y[:, :, i, j] = reduce(values, counted)
    return {"y": y}


def _max_pool2d(inputs: Arrays, s: Settings) -> Arrays:
    return _pool(inputs["x"], s, lambda values, counted: values.max(2, initial=-np.inf))


def _avg_pool2d(inputs: Arrays, s: Settings) -> Arrays:
    def mean(values: np.ndarray, counted: int) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return values.sum(2) / np.float64(counted if s["count_include_pad"] else values.shape[2])

    return _pool(inputs["x"], s, mean)


def _adaptive(reduce: Callable[..., np.ndarray]) -> Callable[[Arrays, Settings], Arrays]:
    def define(inputs: Arrays, s: Settings) -> Arrays:
        x, sizes = inputs["x"], pair(s["size"])
        y = np.zeros((*x.shape[:2], *sizes))
        for i, j in product(range(sizes[0]), range(sizes[1])):
            rows, columns = (
                slice(index * n // size, -(-(index + 1) * n // size))
                for index, n, size in zip((i, j), x.shape[2:], sizes, strict=True)
            )
            y[:, :, i, j] = reduce(x[:, :, rows, columns], (2, 3))
        return {"y": y}

    return define


def _torch_stride(settings: Settings) -> Any:
    """The stride of functions whose default is the kernel."""
    return None if settings["stride"] == "kernel" else settings["stride"]


def _max_pool_call(s: Settings) -> str:
    return call(
        "F.max_pool2d", "x", kernel_size=s["kernel"], stride=_torch_stride(s), padding=s["padding"],
        ceil_mode=s["ceil_mode"],
    )  # fmt: skip


def _mindspore_pool(layer: str) -> Callable[[Settings], Code]:
    def render(s: Settings) -> Code:
        stride = s["kernel"] if s["stride"] == "kernel" else s["stride"]
        padded = pair(s["padding"]) != (0, 0) or s["ceil_mode"]
        extra = {"count_include_pad": s["count_include_pad"]} if layer == "AvgPool2d" else {}
        return Code(call(
            f"nn.{layer}", kernel_size=s["kernel"], stride=stride, pad_mode="pad" if padded else None,
            padding=s["padding"] if padded else None, ceil_mode=s["ceil_mode"] or None, **extra,
        ) + "(x)")  # fmt: skip

    return render


WINDOW = (
    Setting("kernel", 3),
    own_default("stride", "kernel", "kernel", 1),
    Setting("padding", 0),
    Setting("ceil_mode", False, choices=(False, True)),
    own_default("last_window", "inside", "any", "inside", fixed="torch paddle mindspore"),
)
MAP = (1, 2, 6, 7)

POOLS = (
    Operator(
        "max_pool2d", _max_pool2d,
        torch=_max_pool_call, paddle=_max_pool_call,
        mindspore=_mindspore_pool("MaxPool2d"),
        settings=WINDOW, shape=MAP,
    ),
    Operator(
        "avg_pool2d", _avg_pool2d,
        torch=lambda s: call(
            "F.avg_pool2d", "x", kernel_size=s["kernel"], stride=_torch_stride(s), padding=s["padding"],
            ceil_mode=s["ceil_mode"], count_include_pad=s["count_include_pad"],
        ),
        paddle=lambda s: call(
            "F.avg_pool2d", "x", kernel_size=s["kernel"], stride=_torch_stride(s), padding=s["padding"],
            ceil_mode=s["ceil_mode"], exclusive=None if s["count_include_pad"] is None else not s["count_include_pad"],
        ),
        mindspore=_mindspore_pool("AvgPool2d"),
        settings=(
            *WINDOW,
            own_default("count_include_pad", True, False, True, False, True),
        ),
        shape=MAP,
    ),
    Operator(
        "adaptive_avg_pool2d", _adaptive(np.mean),
        torch=lambda s: call("F.adaptive_avg_pool2d", "x", output_size=s["size"]),
        paddle=lambda s: call("F.adaptive_avg_pool2d", "x", output_size=s["size"]),
        mindspore=lambda s: call("ops.adaptive_avg_pool2d", "x", output_size=s["size"]),
        settings=(Setting("size", (3, 2)),), shape=MAP,
    ),
    Operator(
        "adaptive_max_pool2d", _adaptive(np.max),
        torch=lambda s: call("F.adaptive_max_pool2d", "x", output_size=s["size"]),
        paddle=lambda s: call("F.adaptive_max_pool2d", "x", output_size=s["size"]),
        mindspore=lambda s: call("ops.adaptive_max_pool2d", "x", output_size=s["size"]),
        settings=(Setting("size", (3, 2)),), shape=MAP,
    ),
)  # fmt: skip
