"""Formulas that join values along an axis, each part computed from one or two of the sources."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, combinations, permutations, product

import numpy as np

from repro.arrays import Arrays
from repro.parity.causes.elementwise import ELEMENTWISE
from repro.parity.causes.one_source import single_matches
from repro.parity.causes.several_sources import combined_matches
from repro.parity.causes.target import Target

MAX_PARTS = 4
Explain = Callable[[Arrays, np.ndarray], str]


def joined_matches(sources: Arrays, target: Target) -> Iterator[str]:
    """Yield formulas of a value that is joined from parts, and perhaps rearranged."""
    if len(sources) > 1:
        for axis, order in product(_axes(max(array.ndim for array in sources.values())), permutations(sources)):
            shapes = {(*sources[name].shape[:axis], *sources[name].shape[axis + 1 :]) for name in order}
            if len(shapes) == 1:
                joined = np.concatenate([sources[name] for name in order], axis)
                yield from single_matches(f"concatenate({', '.join(order)}; axis {axis})", joined, target)
    for axis in _axes(target.ndim):
        for formulas in _parts(sources, target.array, axis, MAX_PARTS, _formula):
            yield f"concatenate({', '.join(formulas)}; axis {axis})"
    channels = target.shape[1] if target.ndim == 4 else 0
    for groups in (groups for groups in range(2, channels) if channels % groups == 0):
        maps = target.array.reshape(len(target.array), channels // groups, groups, *target.shape[2:])
        unshuffled = maps.swapaxes(1, 2).reshape(target.shape)
        for formulas in _parts(sources, unshuffled, 1, 2, _elementwise_formula):
            yield f"shuffle(concatenate({', '.join(formulas)}; axis 1); {groups} groups along axis 1)"


def _axes(rank: int) -> list[int]:
    """The axes along which networks join values: channels and tokens."""
    return sorted({1, rank - 1} - {0}) if rank < 4 else [1]


def _parts(sources: Arrays, array: np.ndarray, axis: int, count: int, explain: Explain) -> Iterator[list[str]]:
    """Yield the formulas of at least two and at most `count` parts of an array along an axis."""
    size = array.shape[axis]
    channels = {side for source in sources.values() for side in (source.shape[1], source.shape[-1])}
    sides = channels | {side // 2 for side in channels} | {size // 2}
    for first in sorted({*sides, *(size - side for side in sides)} & set(range(1, size)), reverse=True):
        head, rest = np.split(array, [first], axis)
        if not (formula := explain(sources, head)):
            continue
        if other := explain(sources, rest):
            yield [formula, other]
        elif count > 2:
            for others in _parts(sources, rest, axis, count - 1, explain):
                yield [formula, *others]


def _formula(sources: Arrays, part: np.ndarray) -> str:
    """The formula of a part from one or two of the sources, or ""."""
    target = Target(part)
    singles = (formula for name, array in sources.items() for formula in single_matches(name, array, target))
    subsets = chain(([name] for name in sources), combinations(sources, 2))
    combined = (combined_matches({name: sources[name] for name in names}, target) for names in subsets)
    return next(chain(singles, chain.from_iterable(combined)), "")


def _elementwise_formula(sources: Arrays, part: np.ndarray) -> str:
    """The elementwise function of a source, of a half of one, or of a sum of two that gives a part, or ""."""
    target = Target(part)
    pairs = combinations(sources, 2)
    sums = {f"{a} + {b}": sources[a] + sources[b] for a, b in pairs if sources[a].shape == sources[b].shape}
    for name, array in (sources | sums).items():
        halves = np.array_split(array, 2, 1)
        for title, piece in ((name, array), *zip(("first", "second"), halves, strict=True)):
            text = title if piece is array else f"{title} half of {name} along axis 1"
            if piece.shape == target.shape:
                for pattern, function in ELEMENTWISE.items():
                    if target.fits(function, [piece]):
                        return pattern.format(text)
    return ""
