"""The same weights, with few numbers each: what an optimizer does to a weight, it does to every number by itself."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from repro.specs import STATISTICS, Spec
from repro.specs.user_model import UserModelSpec


def truncated(spec: Spec, most: int) -> UserModelSpec:
    """The weights of a spec, of which those that are trained are cut to at most so many numbers each. They keep their
    kinds and their number of axes, on which a weight's decay may depend."""
    weights = {
        name: weight if weight.kind in STATISTICS else replace(weight, shape=_cut(weight.shape, most))
        for name, weight in spec.weights.items()
    }
    return UserModelSpec(name=spec.name, described=weights, layers={}, norm_momentum=spec.norm_momentum)


def _cut(shape: tuple[int, ...], most: int) -> tuple[int, ...]:
    """Half of the longest axis, again and again."""
    sides = list(shape)
    while prod(sides) > most:
        longest = max(range(len(sides)), key=sides.__getitem__)
        sides[longest] = (sides[longest] + 1) // 2
    return tuple(sides)


def cut(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The corner of an array that has this shape: a view."""
    return array[tuple(slice(side) for side in shape)]
