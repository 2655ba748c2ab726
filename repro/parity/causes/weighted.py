"""Formulas with weights that belong to no layer, such as positions, class tokens, and a scale for each channel."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, permutations

import numpy as np

from repro.arrays import Arrays
from repro.parity.causes.joined import joined_matches
from repro.parity.causes.several_sources import computed_matches
from repro.parity.causes.target import Target


def weighted_matches(sources: Arrays, weights: Arrays, target: Target) -> Iterator[str]:
    """Yield formulas in which weights are joined with the sources, added to them, or multiplied by them."""
    yield from _with_tokens(sources, weights, target)
    for name, weight in weights.items():
        if (array := _broadcast(weight, target.shape)) is None:
            continue
        others = {other: of_other for other, of_other in weights.items() if other != name}
        rest = Target(target.array - array)
        whole = chain(
            computed_matches(sources, rest), _with_tokens(sources, others, rest), joined_matches(sources, rest)
        )
        yield from (f"{formula} + {name}" for formula in whole)
        if array.all():
            yield from (f"{name} * ({formula})" for formula in computed_matches(sources, Target(target.array / array)))
            for a, b in permutations(sources, 2):
                if sources[a].shape == target.shape:
                    scaled = Target((target.array - sources[a]) / array)
                    yield from (f"{a} + {name} * {formula}" for formula in computed_matches({b: sources[b]}, scaled))


def _with_tokens(sources: Arrays, weights: Arrays, target: Target) -> Iterator[str]:
    """Yield formulas that join the sources with weights of one image, the same for all."""
    count = len(target.array)
    tokens = {
        name: np.broadcast_to(weight, (count, *weight.shape[1:]))
        for name, weight in weights.items()
        if weight.ndim == target.ndim and len(weight) == 1
    }
    if tokens:
        yield from joined_matches(sources | tokens, target)


def _broadcast(weight: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """A weight of one image, or with a number for each channel, for arrays of a shape; None if it does not fit."""
    if weight.ndim == 1 and len(shape) == 4:
        weight = weight[:, None, None]
    try:
        return np.broadcast_to(weight, shape) if weight.any() else None
    except ValueError:
        return None
