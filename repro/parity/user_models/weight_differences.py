"""The differences between the weights of user models that keep their own, as after the conversion of a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from repro.arrays import Arrays
from repro.parity.causes.hints import explain_error
from repro.parity.user_models.structure import Difference
from repro.specs import Weight
from repro.weights.weight_pairs import Pair, layers_in_both, neutral_value, owner_name, unpaired


def weight_differences(
    backends: tuple[str, str], weights: Mapping[str, Weight], pairs: Sequence[Pair], reference: Arrays, own: Arrays
) -> Iterator[Difference]:
    """Yield every weight that is not equal to the bit in two models.

    weights: those of the first model; pairs: its weights with those of the other; reference, own: the arrays of both
    under shared names, and as "only/NAME" those that only the other model has.
    """
    first, second = backends
    for name in weights:
        if name in own and not np.array_equal(own[name], reference[name]):
            yield name, _describe(own[name], reference[name])
    missing, extra = unpaired(pairs)
    layers = set.union(*layers_in_both(pairs))
    for name, array, owner, other in (
        *((name, reference[name], first, second) for name in missing),
        *((name, own[f"only/{name}"], second, first) for name in extra),
    ):
        value = neutral_value(name, weights.get(name, Weight(array.shape, "other")))
        if owner_name(name) in layers and value is not None and np.any(array != value):
            yield name, f"it is not {value:g} everywhere in {owner}, and {other} lacks it"


def _describe(own: np.ndarray, reference: np.ndarray) -> str:
    """How two arrays of one shape differ."""
    differs = own != reference
    errors = np.where(differs, np.abs(own.astype(np.float64) - reference), 0)
    index = np.unravel_index(np.argmax(errors), errors.shape)
    is_transposed = own.ndim == 2 and own.shape == own.shape[::-1] and np.array_equal(own.T, reference)
    cause = "it looks transposed" if is_transposed else explain_error(own, reference, tolerance=0.0)
    place = list(map(int, index))
    text = f"its values differ: {own[index]:.6g} instead of {reference[index]:.6g} at {place}"
    return f"{text}; {differs.sum()} of {own.size} elements{f' ({cause})' if cause else ''}"
