"""Formulas that compute a value from one other: an elementwise function before or after a rearrangement, a gate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain

import numpy as np

from repro.parity.causes.elementwise import ELEMENTWISE, GATES, along_axes, leaky_slope
from repro.parity.causes.rearrangements import map_operations, parts, rearrangements
from repro.parity.causes.target import Target

MAX_VIEWED = 1 << 16  # elements of a value of which two functions are combined
# Activations that stand before pooling or resizing
INNER = (
    "relu({})",
    "relu6({})",
    "silu({})",
    "hardswish({})",
    "gelu({})",
    "tanh({})",
    "sigmoid({})",
    "abs({})",
    "mish({})",
)


def single_matches(name: str, array: np.ndarray, target: Target) -> Iterator[str]:
    """Yield formulas of one source: an elementwise function before or after a rearrangement."""
    if array.shape == target.shape:
        for pattern, function in ELEMENTWISE.items():
            if target.fits(function, [array]):
                yield pattern.format(name)
        for pattern, function in along_axes(array.ndim):
            if target.equals(function(array)):
                yield pattern.format(name)
        if (slope := leaky_slope(array, target.array)) is not None:
            yield f"leaky_relu({name}, {slope:.4g})"
        gates = GATES if array.size <= MAX_VIEWED else {"{}": GATES["{}"]}
        for pattern, function in gates.items():
            yield from _fitted(pattern.format(name), function(array), target)
    for pattern, rearrange in rearrangements(array.shape, target.shape):
        yield from _check_rearranged(name, array, target, pattern, rearrange)
    if array.ndim == target.ndim == 4 and array.shape[:2] == target.shape[:2]:
        few, few_of_target = array[:1], Target(target.array[:1])
        for pattern, rearrange in map_operations(array.shape[2:], target.shape[2:]):
            if next(_check_rearranged(name, few, few_of_target, pattern, rearrange), ""):
                yield from _check_rearranged(name, array, target, pattern, rearrange)
    for pattern, rearrange in parts(array.shape, target.shape):
        yield from _fitted(pattern.format(name), rearrange(array), target)
    yield from _gated_halves(name, array, target)


def combined_views(name: str, array: np.ndarray, target: Target) -> Iterator[str]:
    """Yield formulas that multiply or add two functions of one value, such as a gate from its own mean."""
    if max(array.size, target.array.size) > MAX_VIEWED:
        return
    views = dict(sorted(_views(name, array, target.shape), key=lambda view: len(view[0])))
    if not views:
        return
    few = np.unravel_index(np.arange(target.array.size)[target.few], target.shape)
    samples = np.stack([np.broadcast_to(view, target.shape)[few] for view in views.values()])
    titles = list(views)
    for operation, combine in (("{} * {}", np.multiply), ("{} + {}", np.add), ("{} - {}", np.subtract)):
        for index, title in enumerate(titles):
            combined = combine(samples[index], samples)
            for outer in ("{}", "sigmoid({})", "relu({})"):
                errors = np.abs(ELEMENTWISE[outer](combined) - target.sample).max(1)
                for other in np.flatnonzero(errors <= target.tolerance):
                    if other == index:
                        continue
                    value = ELEMENTWISE[outer](combine(views[title], views[titles[other]]))
                    if target.equals(np.broadcast_to(value, target.shape)):
                        yield outer.format(operation.format(title, titles[other]))


def _views(name: str, array: np.ndarray, shape: tuple[int, ...]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield functions of a value that have a shape, or can be broadcast to it, by their formulas."""
    bases = {name: array} if array.shape == shape else {}
    kept = tuple(1 if axis > 1 else size for axis, size in enumerate(array.shape))
    shapes = {shape, kept} if array.shape == shape else {shape}
    for wanted_shape in shapes:
        for pattern, function in parts(array.shape, wanted_shape):
            bases[pattern.format(name)] = function(array)
    if array.ndim == 3 and array.shape != shape:  # halves of which one is turned around
        bases |= {f"flip({title}; axis 1)": np.flip(base, 1) for title, base in bases.items() if base.ndim > 1}
    for title, base in bases.items():
        for pattern, function in chain(GATES.items(), along_axes(base.ndim)):
            yield pattern.format(title), function(base)


def _fitted(title: str, array: np.ndarray, target: Target) -> Iterator[str]:
    """Yield formulas that multiply an array by a number, add one to it, or clip it."""
    if array.shape != target.shape:
        return
    factor = float((array * target.array).sum()) / (float((array * array).sum()) or 1.0)
    if target.equals(factor * array):
        yield f"{factor:.4g} * {title}"
    shift = float((target.array - array).mean())
    if target.equals(array + shift):
        yield f"{title} + {shift:.4g}"
    if array.size > 1:
        low, high = target.array.min(), target.array.max()
        if target.equals(array.clip(low, high)):
            limits = [f"from {low:.4g}"] * bool(array.min() < low) + [f"to {high:.4g}"] * bool(array.max() > high)
            yield f"clip({title}; {' '.join(limits)})"


def _check_rearranged(
    name: str, array: np.ndarray, target: Target, pattern: str, rearrange: Callable[[np.ndarray], np.ndarray]
) -> Iterator[str]:
    """Yield formulas of a rearrangement before and after an elementwise function."""
    moved = rearrange(array)
    if moved.shape != target.shape:
        return
    for outer, function in ELEMENTWISE.items():
        if target.fits(function, [moved]):
            yield outer.format(pattern.format(name))
    if (slope := leaky_slope(moved, target.array)) is not None:
        yield f"leaky_relu({pattern.format(name)}, {slope:.4g})"
    for outer, function in along_axes(moved.ndim):
        if target.equals(function(moved)):
            yield outer.format(pattern.format(name))
    if moved.size != array.size:  # otherwise a function before it is the same as after it
        for inner in INNER:
            if target.equals(rearrange(ELEMENTWISE[inner](array))):
                yield pattern.format(inner.format(name))


def _gated_halves(name: str, array: np.ndarray, target: Target) -> Iterator[str]:
    """Yield formulas of the two halves of a source, of which one gates the other."""
    for axis in {1, array.ndim - 1} - {0}:
        count = array.shape[axis]
        if count % 2 or target.shape != (*array.shape[:axis], count // 2, *array.shape[axis + 1 :]):
            continue
        halves = np.split(array, 2, axis)
        alternating = [np.take(array, range(start, count, 2), axis) for start in (0, 1)]
        for (left, right), titles in ((halves, ("first half", "second half")), (alternating, ("even", "odd"))):
            left_few, right_few = (
                np.stack([function(half.reshape(-1)[target.few]) for function in GATES.values()])
                for half in (left, right)
            )
            errors = np.abs(left_few[:, None] * right_few - target.sample).max(2)
            for f, g in np.argwhere(errors <= target.tolerance):
                (first, f_of), (second, g_of) = list(GATES.items())[f], list(GATES.items())[g]
                if target.equals(f_of(left) * g_of(right)):
                    formulas = [first.format(f"{titles[0]} of {name}"), second.format(f"{titles[1]} of {name}")]
                    yield " * ".join(sorted(formulas, key=len))
