"""Formulas that explain how a value is computed from others, found by trying what networks commonly compute.

The value that is right and the one that is wrong are both tried, so that a difference has a name on both sides:
"torch computes gelu(x), and paddle gelu(x, tanh approximation)".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import permutations, product

import numpy as np

from repro.arrays import Arrays
from repro.parity.causes.elementwise import ELEMENTWISE, GATES, along_axes, leaky_slope
from repro.parity.causes.rearrangements import map_operations, rearrangements
from repro.parity.tolerance import root_mean_square

CLOSE = 3e-5  # largest error of a formula, relative to the root mean square of the value
MAX_ELEMENTS = 1 << 20  # larger values are not explained
MAX_SOURCES = 4
SAMPLED = 64  # elements on which a formula is tried first
# Activations that stand before pooling or resizing
INNER = ("relu({})", "relu6({})", "silu({})", "hardswish({})", "gelu({})", "tanh({})", "sigmoid({})", "abs({})")


class Target:
    """A value that a formula must give."""

    def __init__(self, array: np.ndarray):
        self.array = array.astype(np.float64)
        self.shape, self.ndim = array.shape, array.ndim
        self.tolerance = CLOSE * root_mean_square(self.array)
        self.few = slice(None, None, max(1, array.size // SAMPLED))
        self.sample = self.array.reshape(-1)[self.few]

    def equals(self, value: np.ndarray) -> bool:
        """Return whether a value is the target up to rounding."""
        if value.shape != self.shape:
            return False
        if np.abs(value.reshape(-1)[self.few] - self.sample).max(initial=0.0) > self.tolerance:
            return False
        return bool(np.abs(value - self.array).max(initial=0.0) <= self.tolerance)

    def fits(self, function: Callable[..., np.ndarray], arguments: Sequence[np.ndarray]) -> bool:
        """Return whether an elementwise function of arrays of the target's shape gives it.

        A few elements are tried first.
        """
        few = function(*(argument.reshape(-1)[self.few] for argument in arguments))
        if not np.abs(few - self.sample).max(initial=0.0) <= self.tolerance:
            return False
        return self.equals(function(*arguments))


def explain_operations(
    sources: Mapping[str, np.ndarray], other_sources: Mapping[str, np.ndarray], right: np.ndarray, wrong: np.ndarray
) -> tuple[str, str] | None:
    """The formulas of a right and of a wrong value, from their sources by name; None unless the right one has one.

    The second formula is "" where none was found.
    """
    if max(right.size, wrong.size) > MAX_ELEMENTS:
        return None
    formula = find_formula(sources, right)
    other_formula = find_formula(other_sources, wrong)
    if formula and other_formula != formula:
        return formula, other_formula
    if right.shape != wrong.shape or Target(right).equals(wrong):
        return None
    for name, function in ELEMENTWISE.items():
        if name != "{}":
            if Target(wrong).fits(function, [right]):
                return "a value", name.format("that value")
            if Target(right).fits(function, [wrong]):
                return name.format("a value"), "that value"
    return None


def find_formula(sources: Mapping[str, np.ndarray], result: np.ndarray) -> str:
    """The first formula of the sources that gives the target, or ""."""
    named = {readable(name): array.astype(np.float64) for name, array in sources.items()}
    if not named or len(named) > MAX_SOURCES or not result.size or not np.isfinite(result).all():
        return ""
    with np.errstate(all="ignore"):
        return next(_matches(named, Target(result)), "")


def _matches(sources: Arrays, target: Target) -> Iterator[str]:
    for name, array in sources.items():
        yield from _single_matches(name, array, target)
    if len(sources) == 2:
        (a, left), (b, right) = sources.items()
        yield from _pair_matches(a, left, b, right, target)
        yield from _scaled_sums(a, left, b, right, target)
        yield from _scaled_sums(b, right, a, left, target)
    if len(sources) >= 2:
        yield from _joined_matches(sources, target)
    if len(sources) == 3:
        yield from _attention_matches(sources, target)
        yield from _triple_matches(sources, target)


def _single_matches(name: str, array: np.ndarray, target: Target) -> Iterator[str]:
    """Formulas of one source: an elementwise function before or after a rearrangement."""
    if array.shape == target.shape:
        for pattern, function in ELEMENTWISE.items():
            if target.fits(function, [array]):
                yield pattern.format(name)
        for pattern, function in along_axes(array.ndim):
            if target.equals(function(array)):
                yield pattern.format(name)
        if (slope := leaky_slope(array, target.array)) is not None:
            yield f"leaky_relu({name}, {slope:.4g})"
        factor = float((array * target.array).sum()) / (float((array * array).sum()) or 1.0)
        if target.equals(factor * array):
            yield f"{factor:.4g} * {name}"
        shift = float((target.array - array).mean())
        if target.equals(array + shift):
            yield f"{name} + {shift:.4g}"
    for pattern, rearrange in rearrangements(array.shape, target.shape):
        yield from _check_rearranged(name, array, target, pattern, rearrange)
    if array.ndim == target.ndim == 4 and array.shape[:2] == target.shape[:2]:
        few, few_of_target = array[:1, :2], Target(target.array[:1, :2])
        for pattern, rearrange in map_operations(array.shape[2:], target.shape[2:]):
            if next(_check_rearranged(name, few, few_of_target, pattern, rearrange), ""):
                yield from _check_rearranged(name, array, target, pattern, rearrange)
    yield from _gated_halves(name, array, target)


def _check_rearranged(
    name: str, array: np.ndarray, target: Target, pattern: str, rearrange: Callable[[np.ndarray], np.ndarray]
) -> Iterator[str]:
    """The rearrangement before and behind an elementwise function."""
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
    if moved.size != array.size:  # otherwise a function before it is the same as behind it
        for inner in INNER:
            if target.equals(rearrange(ELEMENTWISE[inner](array))):
                yield pattern.format(inner.format(name))


def _gated_halves(name: str, array: np.ndarray, target: Target) -> Iterator[str]:
    """Formulas of the two halves of a source, of which one gates the other."""
    for axis in {1, array.ndim - 1} - {0}:
        count = array.shape[axis]
        if count % 2 or target.shape != (*array.shape[:axis], count // 2, *array.shape[axis + 1 :]):
            continue
        halves = np.split(array, 2, axis)
        alternating = [np.take(array, range(start, count, 2), axis) for start in (0, 1)]
        for (left, right), titles in ((halves, ("first half", "second half")), (alternating, ("even", "odd"))):
            for f, g in product(GATES, GATES):
                for i, j in ((0, 1), (1, 0)):
                    pair = (left, right)
                    if target.fits(lambda x, y, f=f, g=g: GATES[f](x) * GATES[g](y), [pair[i], pair[j]]):
                        yield f"{f.format(f'{titles[i]} of {name}')} * {g.format(f'{titles[j]} of {name}')}"


def _pair_matches(a: str, left: np.ndarray, b: str, right: np.ndarray, target: Target) -> Iterator[str]:
    left, right = _same_rank(left, right)
    try:
        shape = np.broadcast_shapes(left.shape, right.shape)
    except ValueError:
        return
    if shape != target.shape:
        return
    left, right = np.broadcast_to(left, shape), np.broadcast_to(right, shape)
    operations: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
        "{} + {}": np.add, "{} * {}": np.multiply, "{} - {}": np.subtract,
        "-{} + {}": lambda x, y: y - x, "max({}, {})": np.maximum,
    }  # fmt: skip
    for operation, combine in operations.items():
        combined = combine(left, right)
        for outer, function in ELEMENTWISE.items():
            if target.fits(function, [combined]):
                text = operation.format(a, b)
                yield text if outer == "{}" else outer.format(text)
        for f, g in product(INNER, ("{}", *INNER)):
            for left_form, right_form in ((f, g), (g, f)):
                text = operation.format(left_form.format(a), right_form.format(b))
                if target.fits(
                    lambda x, y, c=combine, f=left_form, g=right_form: np.maximum(
                        c(ELEMENTWISE[f](x), ELEMENTWISE[g](y)), 0
                    ),
                    [left, right],
                ):
                    yield f"relu({text})"
        for f, g in product(GATES, GATES):
            if (f, g) != ("{}", "{}") and target.fits(
                lambda x, y, c=combine, f=f, g=g: c(GATES[f](x), GATES[g](y)), [left, right]
            ):
                yield operation.format(f.format(a), g.format(b))


def _scaled_sums(a: str, left: np.ndarray, b: str, right: np.ndarray, target: Target) -> Iterator[str]:
    """left + factor * right, with one factor, or one for each channel."""
    if left.shape != target.shape or right.shape != target.shape:
        return
    rest = target.array - left
    factor = float((rest * right).sum()) / (float((right * right).sum()) or 1.0)
    if abs(factor) > CLOSE and target.equals(left + factor * right):
        yield f"{a} + {factor:.4g} * {b}"
    passed = target.array > 0  # by a ReLU
    factor = float((rest * right)[passed].sum()) / (float((right * right)[passed].sum()) or 1.0)
    if abs(factor) > CLOSE and target.equals(np.maximum(left + factor * right, 0)):
        yield f"relu({a} + {factor:.4g} * {b})"
    for axis in {1, target.ndim - 1}:
        others = tuple(other for other in range(target.ndim) if other != axis)
        norms = (right * right).sum(others, keepdims=True)
        factors = (rest * right).sum(others, keepdims=True) / np.where(norms, norms, 1)
        if target.equals(left + factors * right):
            yield f"{a} + (a factor for each channel) * {b}"


def _joined_matches(sources: Arrays, target: Target) -> Iterator[str]:
    """Formulas that add all sources, or join them along an axis."""
    arrays = list(sources.values())
    if len({array.shape for array in arrays}) == 1:
        total = sum(arrays[1:], arrays[0])
        if total.shape == target.shape:
            for pattern, function in ELEMENTWISE.items():
                if target.fits(function, [total]):
                    yield pattern.format(" + ".join(sources))
        else:
            yield from _single_matches(f"({' + '.join(sources)})", total, target)
    for axis in range(1, max(array.ndim for array in arrays)):
        for order in permutations(sources):
            yield from _joined_formulas(order, sources, target, axis)
            shapes = {(*sources[name].shape[:axis], *sources[name].shape[axis + 1 :]) for name in order}
            if len(shapes) == 1:
                joined = np.concatenate([sources[name] for name in order], axis)
                yield from _single_matches(f"concatenate({', '.join(order)}; axis {axis})", joined, target)


def _joined_formulas(order: tuple[str, ...], sources: Arrays, target: Target, axis: int) -> Iterator[str]:
    """Formulas that join functions of the sources."""
    sizes = [sources[name].shape[axis] if sources[name].ndim == target.ndim > axis else 0 for name in order]
    if not all(sizes) or sum(sizes) != target.shape[axis]:
        return
    formulas = []
    for name, part in zip(order, np.split(target.array, np.cumsum(sizes)[:-1], axis), strict=True):
        formula = next(_single_matches(name, sources[name], Target(part)), "")
        if not formula:
            return
        formulas.append(formula)
    yield f"concatenate({', '.join(formulas)}; axis {axis})"


def _attention_matches(sources: Arrays, target: Target) -> Iterator[str]:
    """Formulas of attention with sources (N, T, C) as query, key and value in this order."""
    shapes = {array.shape for array in sources.values()}
    if len(shapes) != 1 or target.shape not in shapes or target.ndim != 3:
        return
    n, t, c = target.shape
    for heads in (heads for heads in range(1, c + 1) if c % heads == 0):
        width = c // heads
        splits = {
            "": lambda x, h=heads, d=width: x.reshape(n, t, h, d).transpose(0, 2, 1, 3),
            ", heads split as (channels, heads)": lambda x, h=heads, d=width: x.reshape(n, t, d, h).transpose(
                0, 3, 1, 2
            ),
            ", heads split without a transpose": lambda x, h=heads, d=width: x.reshape(n, h, t, d),
        }
        scales = {f"{width}^-0.5": width**-0.5, "1": 1.0, f"{c}^-0.5": c**-0.5, f"{width}^-1": 1 / width,
                  f"{heads}^-0.5": heads**-0.5, f"{width}^0.5": width**0.5}  # fmt: skip
        for (split, divide), order in product(splits.items(), permutations(sources)):
            q, k, v = (divide(sources[name]) for name in order)
            products = q @ k.swapaxes(-1, -2)
            for (scale, factor), axis in product(scales.items(), (-1, -2, 1)):
                weights = np.exp(factor * products - (factor * products).max(axis, keepdims=True))
                mixed = (weights / weights.sum(axis, keepdims=True)) @ v
                merges = {
                    "": mixed.transpose(0, 2, 1, 3),
                    ", heads merged without a transpose": mixed,
                    ", heads merged as (channels, heads)": mixed.transpose(0, 2, 3, 1),
                }
                for merge, merged in merges.items():
                    if target.equals(merged.reshape(n, t, c)):
                        place = "" if axis == -1 else f", softmax along axis {axis}"
                        yield f"attention({', '.join(order)}; {heads} heads, scale {scale}{place}{split}{merge})"


def _triple_matches(sources: Arrays, target: Target) -> Iterator[str]:
    """Formulas of three values: two are multiplied or added, and then the third."""
    for a, b, c in permutations(sources):
        x, y, z = sources[a], sources[b], sources[c]
        if a < b and x.shape == y.shape == z.shape == target.shape:
            if target.equals(x * y + z):
                yield f"{a} * {b} + {c}"
            if target.equals((x + y) * z):
                yield f"({a} + {b}) * {c}"
            if target.equals(np.maximum(x + y, 0) + z):
                yield f"relu({a} + {b}) + {c}"


def _same_rank(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two arrays (N, C, ...) of which the one with fewer axes gets further ones."""
    rank = max(left.ndim, right.ndim)
    return tuple(array.reshape(array.shape + (1,) * (rank - array.ndim)) for array in (left, right))  # type: ignore[return-value]


def readable(name: str) -> str:
    """The name of a value in a sentence."""
    return name.removeprefix("input of ") + "'s input" if name.startswith("input of ") else name
