"""Pairs of weights of two models that hold the same numbers, in one array, in several, or in another shape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from repro.arrays import Arrays
from repro.specs import Weight

# Kind -> the value with which a weight changes nothing
NEUTRAL = {"bias": 0.0, "norm_shift": 0.0, "norm_mean": 0.0, "norm_scale": 1.0, "norm_var": 1.0, "layer_scale": 1.0}


class Pair(NamedTuple):
    """Weights of two models that hold the same numbers.

    left, right: their names in the two models; several names are parts of one weight, joined along the first axis, that
    of the outputs. A weight that only one model has is paired with no name. doubt: a reason to doubt the pair.
    """

    left: tuple[str, ...]
    right: tuple[str, ...]
    doubt: str = ""

    @property
    def reverse(self) -> Pair:
        """The same pair, seen from the other model."""
        return Pair(self.right, self.left, self.doubt)


def weight_label(name: str, weight: Weight) -> str:
    """Return how messages call a weight."""
    groups = f" in {weight.groups} groups" if weight.groups > 1 else ""
    return f"{name} {weight.shape} {weight.kind}{groups}"


def long_sides(shape: Iterable[int]) -> tuple[int, ...]:
    """Return a shape without axes of length 1: arrays that are equal up to these hold the same numbers in one order."""
    return tuple(side for side in shape if side != 1)


def is_pointwise(weight: Weight) -> bool:
    """Return whether the weight is that of a linear layer, or of a convolution that computes the same at each pixel."""
    return weight.kind == "linear" or (
        weight.kind == "conv" and weight.groups == 1 and weight.size == weight.shape[0] * weight.shape[1]
    )


def neutral_value(name: str, weight: Weight) -> float | None:
    """Return the value with which a weight changes nothing, such as 0 for a bias; None where there is no such value."""
    if weight.kind == "other" and name.rpartition(".")[2].endswith(("bias", "beta")):
        return 0.0
    return NEUTRAL.get(weight.kind)


def unpaired(pairs: Iterable[Pair]) -> tuple[list[str], list[str]]:
    """Return the names on each side that are paired with no name."""
    pairs = list(pairs)
    return (
        [name for pair in pairs if not pair.right for name in pair.left],
        [name for pair in pairs if not pair.left for name in pair.right],
    )


def owner_name(name: str) -> str:
    """Return the path of the layer that owns a weight of this name."""
    return name.rpartition(".")[0]


def layers_in_both(pairs: Iterable[Pair]) -> tuple[set[str], set[str]]:
    """Return the layers of each model that have a weight with a counterpart."""
    in_both = [pair for pair in pairs if pair.left and pair.right]
    left, right = (name for pair in in_both for name in pair.left), (name for pair in in_both for name in pair.right)
    return set(map(owner_name, left)), set(map(owner_name, right))


def convert(arrays: Mapping[str, np.ndarray], pairs: Iterable[Pair], shapes: Mapping[str, Sequence[int]]) -> Arrays:
    """Return the arrays of the left model as those of the right one, with these shapes, without changing a number.

    Pairs of which an array is missing, or whose numbers the right model does not have, are left out.
    """
    converted: Arrays = {}
    for pair in pairs:
        if not (pair.left and pair.right and all(name in arrays for name in pair.left)):
            continue
        parts = [arrays[name] for name in pair.left]
        joined = parts[0] if len(parts) == 1 else np.concatenate(parts)
        ends = accumulate(int(shapes[name][0]) for name in pair.right[:-1])
        pieces = [joined] if len(pair.right) == 1 else np.split(joined, list(ends))
        converted |= {name: piece.reshape(shapes[name]) for name, piece in zip(pair.right, pieces, strict=True)}
    return converted


def pair_errors(left: Mapping[str, Weight], right: Mapping[str, Weight], pairs: Collection[Pair]) -> Iterator[str]:
    """Yield what keeps pairs from covering all weights of two models, whose weights have these shapes and kinds."""
    uses = Counter(name for pair in pairs for name in pair.left)
    own_uses = Counter(name for pair in pairs for name in pair.right)
    pairs_by_name = {pair.left[0]: pair for pair in pairs if pair.left}
    for name, weight in left.items():
        if name not in uses:
            yield f"{weight_label(name, weight)} has no counterpart"
        elif name in pairs_by_name and (error := _misfit(pairs_by_name[name], left, right, own_uses)):
            yield error
        if uses[name] > 1:
            yield f"{weight_label(name, weight)} has more than one counterpart"
    for name, weight in right.items():
        if name not in own_uses:
            yield f"{weight_label(name, weight)} is not the counterpart of any weight"


def _misfit(
    pair: Pair, left: Mapping[str, Weight], right: Mapping[str, Weight], own_uses: Mapping[str, int]
) -> str:  # fmt: skip
    """Return why the weights of a pair cannot hold the same numbers, or ""."""
    weights, own_weights = [left[name] for name in pair.left], [right[name] for name in pair.right]
    if not own_weights:
        return ""
    label = " with ".join(map(weight_label, pair.left, weights))
    own_label = " with ".join(map(weight_label, pair.right, own_weights))
    shape, own_shape = _joined_shape(weights), _joined_shape(own_weights)
    groups = {weight.groups for weight in (*weights, *own_weights)}
    if shape is None or shape != own_shape or len(groups) > 1:
        return f"{label} does not fit {own_label}"
    kinds = {weight.kind for weight in (*weights, *own_weights)} - {"other"}
    if len(kinds) > 1 and not all(map(is_pointwise, (*weights, *own_weights))):
        return f"{label} is of another kind than {own_label}"
    if shared := next((name for name in pair.right if own_uses[name] > 1), None):
        return f"{label} has the same counterpart, {shared}, as another weight"
    return ""


def _joined_shape(weights: Sequence[Weight]) -> tuple[int, ...] | None:
    """Return the shape of weights that are joined along the first axis, without axes of length 1; None if none fits."""
    if len(weights) == 1:
        return long_sides(weights[0].shape)
    if not all(weight.shape for weight in weights) or len({long_sides(weight.shape[1:]) for weight in weights}) > 1:
        return None
    return long_sides((sum(weight.shape[0] for weight in weights), *weights[0].shape[1:]))
