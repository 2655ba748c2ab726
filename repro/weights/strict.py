"""Strictness: arrays fit a network entirely or not at all."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

import numpy as np

from repro.errors import ReproError
from repro.specs import Spec, Weight
from repro.untrusted import BFLOAT16, printable


def is_float(array: np.ndarray) -> bool:
    """Whether the array holds floating-point numbers, bfloat16 among them."""
    return np.issubdtype(array.dtype, np.floating) or array.dtype == BFLOAT16


def fits_spec(name: str, array: np.ndarray, spec: Spec) -> bool:
    """Whether the spec has a weight of this name and shape, and the array floating-point numbers."""
    return name in spec.weights and array.shape == spec.weights[name].shape and is_float(array)


def check_weights(
    arrays: Mapping[str, np.ndarray], spec: Spec, names: Mapping[str, str] | None = None, source: str = "these weights"
) -> None:
    """Raises ReproError with every missing, unexpected and wrongly shaped name, and each of whose numbers one is
    not floating or not finite.

    names: canonical name -> what the file that the arrays come from calls it, where that is something else. source:
    what to call them.
    """
    found = list(mismatches(arrays, spec.weights, names))
    if found:
        raise ReproError(
            f"{source} do not fit {spec.name} with {spec.num_classes} classes and {spec.in_channels} input "
            f"channels; of {len(spec.weights)} names, {len(found)} complaints: {'; '.join(found)}"
        )


def mismatches(
    arrays: Mapping[str, np.ndarray], weights: Mapping[str, Weight], names: Mapping[str, str] | None = None
) -> Iterator[str]:
    """A line for everything that does not fit, with the nearest unexpected name for a missing one."""
    theirs = names or {}
    unexpected = [name for name in arrays if name not in weights]
    guesses = 50  # each is a comparison with every unexpected name
    for name, weight in weights.items():
        called = theirs.get(name, name)
        label = name if called == name else f"{called} (here {name})"
        if name not in arrays:
            guesses -= 1
            near = difflib.get_close_matches(called, unexpected[:200], n=1, cutoff=0.6) if guesses >= 0 else []
            yield f"{label} is missing" + (f" (is it {printable(near[0])}?)" if near else "")
        elif tuple(arrays[name].shape) != weight.shape:
            yield f"{label} has shape {tuple(arrays[name].shape)} instead of {weight.shape}"
        elif not is_float(arrays[name]):
            yield f"{label} holds {arrays[name].dtype} instead of floating-point numbers"
        elif not np.isfinite(arrays[name]).all():
            yield f"{label} holds NaN or infinity"
    for name in unexpected:
        yield f"{printable(name)} is unexpected"
