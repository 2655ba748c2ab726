"""Weights cut down to a few values each, and evenly spread samples of large arrays.

An optimizer treats every value of a weight alike, so that comparing its updates needs few of them.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from repro.specs import STATISTICS, Spec
from repro.specs.user_model import UserModelSpec

SAMPLE_SIZE = 1 << 19  # values of a large array that are compared


def truncated_spec(spec: Spec, limit: int) -> UserModelSpec:
    """Return the weights of a spec with every trained one cut to at most `limit` values.

    Kinds and numbers of axes stay as they are, because weight decay may depend on them. Running statistics keep their
    shapes.
    """
    weights = {
        name: weight if weight.kind in STATISTICS else replace(weight, shape=_truncated_shape(weight.shape, limit))
        for name, weight in spec.weights.items()
    }
    return UserModelSpec(name=spec.name, weights_by_name=weights, owners={}, norm_momentum=spec.norm_momentum)


def _truncated_shape(shape: tuple[int, ...], limit: int) -> tuple[int, ...]:
    """Halve the longest axis until the shape holds at most `limit` values."""
    sides = list(shape)
    while prod(sides) > limit:
        longest = max(range(len(sides)), key=sides.__getitem__)
        sides[longest] = (sides[longest] + 1) // 2
    return tuple(sides)


def corner(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the leading corner of an array that has this shape, as a view."""
    return array[tuple(slice(side) for side in shape)]


def sample(array: np.ndarray, size: int = SAMPLE_SIZE) -> np.ndarray:
    """Return the array itself, or `size` evenly spread values of a larger one as a vector.

    A mistake of a framework does not hide in single values among a million.
    """
    if array.size <= size:
        return array
    return array.reshape(-1)[np.arange(size) * array.size // size]
