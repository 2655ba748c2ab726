"""Formulas that compute a value from several others: sums, products, gates, and values that are joined."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import permutations, product

import numpy as np

from repro.arrays import Arrays
from repro.parity.causes.attention import attention_matches, packed_attention_matches
from repro.parity.causes.elementwise import ELEMENTWISE, GATES, along_axes
from repro.parity.causes.one_source import INNER, combined_views, single_matches
from repro.parity.causes.rearrangements import all_rearrangements
from repro.parity.causes.resizing import pools
from repro.parity.causes.target import CLOSE, Target

FORMS = ("{}", *INNER)
SAMPLES_PER_FACTOR = 3  # numbers of a channel, at least, for each factor that is fitted to them
MAX_COMBINED = 1 << 16  # elements of values that are combined and then rearranged


def computed_matches(sources: Arrays, target: Target) -> Iterator[str]:
    """Yield formulas that compute a value as a whole, not joined from parts."""
    for name, array in sources.items():
        yield from single_matches(name, array, target)
    yield from combined_matches(sources, target)


def combined_matches(sources: Arrays, target: Target) -> Iterator[str]:
    """Yield formulas that combine all sources, or two functions of the only one."""
    if len(sources) == 1:
        for name, array in sources.items():
            yield from packed_attention_matches(name, array, target)
            yield from combined_views(name, array, target)
        yield from _scaled_sums(sources, target)
    if len(sources) == 2:
        (a, left), (b, right) = sources.items()
        yield from _pair_matches(a, left, b, right, target)
        yield from _scaled_sums(sources, target)
        for pair in ((a, left, b, right), (b, right, a, left)):
            yield from _residual_gates(*pair, target)
            yield from _sums_with_rearranged(*pair, target)
            yield from _sums_with_pooled(*pair, target)
            yield from _sums_with_turned(*pair, target)
        yield from _rearranged_pairs(a, left, b, right, target)
    if len(sources) == 3:
        yield from attention_matches(sources, target)
        yield from _triple_matches(sources, target)
        yield from _scaled_sums(sources, target)


def _residual_gates(a: str, left: np.ndarray, b: str, right: np.ndarray, target: Target) -> Iterator[str]:
    """Yield formulas of a value to which its product with a gate is added, or with a gate along an axis."""
    left, right = _same_rank(left, right)
    if left.shape != target.shape or right.shape[:2] != left.shape[:2]:
        return
    if right.shape[2:] not in (left.shape[2:], (1,) * (left.ndim - 2)):
        return
    gates = np.broadcast_to(right, left.shape)
    for gate, function in GATES.items():
        if target.fits(lambda x, y, function=function: x + x * function(y), [left, gates]):
            yield f"{a} + {a} * {gate.format(b)}"
    for gate, function in along_axes(2 if right.shape[2:] != left.shape[2:] else left.ndim):
        if target.equals(left * function(right)):
            yield f"{a} * {gate.format(b)}"


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
                yield outer.format(f"({text})" if "-{" in outer else text)
    for operation, combine in operations.items():
        for f, g in product(GATES, GATES):
            if (f, g) != ("{}", "{}") and target.fits(
                lambda x, y, c=combine, f=f, g=g: c(GATES[f](x), GATES[g](y)), [left, right]
            ):
                yield operation.format(f.format(a), g.format(b))
    for operation, combine in operations.items():
        for f, g in product(FORMS, FORMS):
            if (f, g) != ("{}", "{}") and target.fits(
                lambda x, y, c=combine, f=f, g=g: np.maximum(c(ELEMENTWISE[f](x), ELEMENTWISE[g](y)), 0), [left, right]
            ):
                yield f"relu({operation.format(f.format(a), g.format(b))})"


def _scaled_sums(sources: Arrays, target: Target) -> Iterator[str]:
    """Yield sums of sources, each of which has one factor, or one for each channel."""
    same = {name: array for name, array in sources.items() if array.shape == target.shape}
    if not same:
        return
    values = target.array.reshape(-1)
    for outer, passed in (("{}", slice(None)), ("relu({})", values > 0), ("relu6({})", (values > 0) & (values < 6))):
        columns = np.stack([array.reshape(-1)[passed] for array in same.values()], 1)
        factors = np.linalg.lstsq(columns, values[passed], rcond=None)[0]
        total = sum(factor * array for factor, array in zip(factors, same.values(), strict=True))
        if target.equals(ELEMENTWISE[outer](total)):
            yield outer.format(_sum(same, [float(factor) for factor in factors]))
    for axis in {1, target.ndim - 1} - {0}:
        columns = np.stack([np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1) for array in same.values()], 2)
        right = np.moveaxis(target.array, axis, 0).reshape(target.shape[axis], -1, 1)
        if columns.shape[1] < SAMPLES_PER_FACTOR * len(same):
            continue
        factors = np.linalg.pinv(columns) @ right
        if np.abs(columns @ factors - right).max() <= target.tolerance:
            spread = np.ptp(factors[..., 0], 0)
            means = factors[..., 0].mean(0)
            are_common = spread <= CLOSE * np.abs(means).max()
            yield _sum(
                same, [float(mean) if is_common else None for mean, is_common in zip(means, are_common, strict=True)]
            )


def _sum(names: Iterable[str], factors: Sequence[float | None]) -> str:
    """The sum of values with factors, None being one for each channel."""
    terms = []
    for name, factor in zip(names, factors, strict=True):
        if factor is None:
            terms.append(f"(a factor for each channel) * {name}")
        elif abs(factor) > CLOSE:
            terms.append(name if abs(factor - 1) <= 1e-4 else f"{factor:.4g} * {name}")
    return " + ".join(terms)


def _sums_with_rearranged(a: str, left: np.ndarray, b: str, right: np.ndarray, target: Target) -> Iterator[str]:
    """Yield formulas of two values of which the second one is pooled, resized or otherwise rearranged first."""
    if left.shape != target.shape or right.shape == target.shape or not right.ndim == target.ndim > 2:
        return
    for form in FORMS:
        for formula in single_matches(b, right, Target(target.array - ELEMENTWISE[form](left))):
            yield f"{form.format(a)} + {formula}"
    if left.all():
        for formula in single_matches(b, right, Target(target.array / left)):
            yield f"{a} * {formula}"
    if right.shape[1] == 1 < left.shape[1] and left.any(1).all():
        gate = (left * target.array).sum(1, keepdims=True) / np.square(left).sum(1, keepdims=True)
        if target.equals(left * gate):
            yield from (f"{a} * {formula}" for formula in single_matches(b, right, Target(gate)))


def _sums_with_pooled(a: str, left: np.ndarray, b: str, right: np.ndarray, target: Target) -> Iterator[str]:
    """Yield sums of a value and another one that is pooled to maps of the same size."""
    if not left.shape == right.shape == target.shape or target.ndim != 4 or right.size > MAX_COMBINED:
        return
    images = np.concatenate([ELEMENTWISE[form](right[:1]) for form in FORMS])
    difference = target.array[:1] - left[:1]
    for pattern, pool in pools(right.shape[2:], right.shape[2:]):
        errors = np.abs(pool(images) - difference).max((1, 2, 3))
        for index in np.flatnonzero(errors <= target.tolerance):
            if target.equals(left + pool(ELEMENTWISE[FORMS[index]](right))):
                yield f"{a} + {pattern.format(FORMS[index].format(b))}"


def _sums_with_turned(a: str, left: np.ndarray, b: str, right: np.ndarray, target: Target) -> Iterator[str]:
    """Yield formulas of two values of which the second one has its channels last, and the first one and the target not.

    A factor for each channel may belong to the second one.
    """
    if left.shape != target.shape or right.ndim != 4:
        return
    for axes in ((0, 3, 1, 2), (0, 3, 2, 1)):
        turned = right.transpose(axes)
        if turned.shape == target.shape:
            title = f"transpose({b}, {list(axes)})"
            yield from _pair_matches(a, left, title, turned, target)
            yield from _scaled_sums({a: left, title: turned}, target)


def _rearranged_pairs(a: str, left: np.ndarray, b: str, right: np.ndarray, target: Target) -> Iterator[str]:
    """Yield formulas that pool, resize or otherwise rearrange a sum or a product of two values.

    All sums and products are tried at once on the first image, as the images of one batch.
    """
    if not left.shape == right.shape != target.shape or len(left) != len(target.array) or left.ndim < 3:
        return
    if max(left.size, target.array.size) > MAX_COMBINED:
        return
    operations: list[tuple[str, Callable[..., np.ndarray]]] = [("{} + {}", np.add), ("{} * {}", np.multiply)]
    forms = list(product(operations, FORMS, FORMS, ("{}", "relu({})")))

    def compute(index: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        (_, combine), f, g, outer = forms[index]
        return ELEMENTWISE[outer](combine(ELEMENTWISE[f](x), ELEMENTWISE[g](y)))

    images = np.stack([compute(index, left[0], right[0]) for index in range(len(forms))])
    of_batch = all_rearrangements(images.shape, (len(forms), *target.shape[1:]))
    of_sources = all_rearrangements(left.shape, target.shape)
    for (pattern, rearrange_batch), (_, rearrange) in zip(of_batch, of_sources, strict=True):
        moved = rearrange_batch(images)
        if moved.shape[1:] != target.shape[1:]:
            continue
        errors = np.abs(moved - target.array[0]).reshape(len(forms), -1).max(1)
        for index in np.flatnonzero(errors <= target.tolerance):
            if target.equals(rearrange(compute(index, left, right))):
                (operation, _), f, g, outer = forms[index]
                text = outer.format(operation.format(f.format(a), g.format(b)))
                is_enclosed = outer != "{}" or any(mark in pattern for mark in ("({})", "({};", "({},"))
                yield pattern.format(text if is_enclosed else f"({text})")


def _triple_matches(sources: Arrays, target: Target) -> Iterator[str]:
    """Yield formulas of three values: two are multiplied or added, and then the third."""
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
    """Two arrays (N, C, ...) of which the one with fewer axes gets further ones, as does one for each channel."""
    rank = max(left.ndim, right.ndim)
    if rank == 4:
        sizes = [array.shape[0] * array.shape[1] for array in (left, right)]
        if right.size == sizes[0] != left.size and len(right) == len(left):
            right = right.reshape(left.shape[:2])
        elif left.size == sizes[1] != right.size and len(right) == len(left):
            left = left.reshape(right.shape[:2])
    return tuple(array.reshape(array.shape + (1,) * (rank - array.ndim)) for array in (left, right))  # type: ignore[return-value]
