"""Pooling and interpolation of maps (N, C, H, W) as the frameworks do them, in NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product

import numpy as np

Function = Callable[[np.ndarray], np.ndarray]
Sides = tuple[int, ...]
Padding = tuple[tuple[int, int], ...]  # before and after, of each axis
Place = Callable[[np.ndarray, int, int], np.ndarray]  # (index in the target, old size, new size) -> place in the source


def pools(sides: Sides, target: Sides) -> Iterator[tuple[str, Function]]:
    """Yield the poolings that turn maps of one size into maps of another."""
    if target[0] > sides[0] or target[1] > sides[1]:
        return
    for kernel, stride in product((2, 3, 4, 5, 7), (1, 2, 3, 4)):
        if stride > kernel:
            continue
        seen = set()
        for padding, title in _paddings(sides, kernel, stride, target):
            if padding in seen:
                continue
            seen.add(padding)
            shown = f"kernel {kernel}, stride {stride}, {title}"
            pool = partial(_pool, kernel=kernel, stride=stride, padding=padding, target=target)
            yield f"max_pool({{}}; {shown})", partial(pool, fill=-np.inf, reduce=np.max)
            if any(map(any, padding)):
                yield f"avg_pool({{}}; {shown}, without the padding)", partial(pool, fill=np.nan, reduce=np.nanmean)
                shown += ", with the padding"
            yield f"avg_pool({{}}; {shown})", partial(pool, fill=0.0, reduce=np.mean)
    yield "adaptive_avg_pool({})", partial(_adaptive, target=target, reduce=np.mean)
    yield "adaptive_max_pool({})", partial(_adaptive, target=target, reduce=np.max)


def _paddings(sides: Sides, kernel: int, stride: int, target: Sides) -> Iterator[tuple[Padding, str]]:
    """The (before, after) padding of each axis with which a pooling has the target's size, and its name."""
    for padding in range(kernel // 2 + 1):
        for ceil_mode, rounded in ((False, math.floor), (True, math.ceil)):
            sizes = [rounded((side + 2 * padding - kernel) / stride) + 1 for side in sides]
            if tuple(sizes) == tuple(target):
                after = [(size - 1) * stride + kernel - side - padding for size, side in zip(sizes, sides, strict=True)]
                more = ", ceil_mode" if ceil_mode and any(a > padding for a in after) else ""
                yield tuple((padding, max(a, 0)) for a in after), f"padding {padding}{more}"
    if tuple(math.ceil(side / stride) for side in sides) == tuple(target):
        totals = [max((size - 1) * stride + kernel - side, 0) for size, side in zip(target, sides, strict=True)]
        yield tuple((total // 2, total - total // 2) for total in totals), "same padding, more at the end"
        yield tuple((total - total // 2, total // 2) for total in totals), "same padding, more at the start"


def _pool(
    x: np.ndarray, *, kernel: int, stride: int, padding: Padding, target: Sides, fill: float,
    reduce: Callable[..., np.ndarray],
) -> np.ndarray:  # fmt: skip
    padded = np.pad(x, [(0, 0), (0, 0), *padding], constant_values=fill)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), (2, 3))  # type: ignore[call-overload]
    return reduce(windows[:, :, ::stride, ::stride][:, :, : target[0], : target[1]], axis=(-2, -1))


def _adaptive(x: np.ndarray, *, target: Sides, reduce: Callable[..., np.ndarray]) -> np.ndarray:
    for axis, size in ((2, target[0]), (3, target[1])):
        length = x.shape[axis]
        bounds = [(i * length // size, -(-(i + 1) * length // size)) for i in range(size)]
        x = np.stack([reduce(x.take(range(start, end), axis), axis=axis) for start, end in bounds], axis)
    return x


def resizes(sides: Sides, target: Sides) -> Iterator[tuple[str, Function]]:
    """Yield the interpolations that turn maps of one size into maps of another."""
    if sides == target:
        return
    coordinates: dict[str, Place] = {
        "align_corners=False": lambda i, old, new: (i + 0.5) * old / new - 0.5,
        "align_corners=True": lambda i, old, new: i * (old - 1) / max(new - 1, 1),
        "corners at 0": lambda i, old, new: i * old / new,
    }
    nearest: dict[str, Place] = {
        "nearest": lambda i, old, new: np.floor(i * old / new),
        "nearest, pixel centres": lambda i, old, new: np.floor((i + 0.5) * old / new),
        "nearest, align_corners=True": lambda i, old, new: np.floor(i * (old - 1) / max(new - 1, 1) + 0.5),
        "nearest, rounded up": lambda i, old, new: np.ceil(i * old / new),
        "nearest, rounded": lambda i, old, new: np.round(i * old / new),
    }
    for name, place in nearest.items():
        yield f"resize({{}}; {name})", partial(_interpolate, target=target, place=place, kernel=_point)
    kernels = {"bilinear": _triangle, "bicubic": _cubic(-0.75), "bicubic (a=-0.5)": _cubic(-0.5)}
    for (corners, place), (name, kernel) in product(coordinates.items(), kernels.items()):
        text = f"resize({{}}; {name}, {corners})"
        yield text, partial(_interpolate, target=target, place=place, kernel=kernel)


def _interpolate(x: np.ndarray, *, target: Sides, place: Place, kernel: Function) -> np.ndarray:
    """Interpolate along rows and columns, with the border's values repeated outside."""
    for axis, new in ((2, target[0]), (3, target[1])):
        old = x.shape[axis]
        positions = place(np.arange(new, dtype=np.float64), old, new)
        if kernel is _triangle:
            positions = np.clip(positions, 0, old - 1)
        matrix = np.zeros((new, old))
        base = np.floor(positions)
        for offset in range(-1, 3):
            columns = np.clip(base + offset, 0, old - 1).astype(int)
            np.add.at(matrix, (np.arange(new), columns), kernel(positions - base - offset))
        x = np.moveaxis(np.tensordot(x, matrix, ([axis], [1])), -1, axis)
    return x


def _point(distance: np.ndarray) -> np.ndarray:
    return (np.abs(distance) < 0.5).astype(float)


def _triangle(distance: np.ndarray) -> np.ndarray:
    return np.maximum(1 - np.abs(distance), 0)


def _cubic(a: float) -> Function:
    def kernel(distance: np.ndarray) -> np.ndarray:
        d = np.abs(distance)
        near = ((a + 2) * d - (a + 3)) * d * d + 1
        far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
        return np.where(d <= 1, near, np.where(d < 2, far, 0))

    return kernel
