"""Strict checks of weights: the arrays fit a network entirely or not at all."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

import numpy as np

from repro.errors import ReproError, counted
from repro.specs import Spec, Weight
from repro.untrusted import BFLOAT16, printable

MAX_SUGGESTIONS = 50  # each one compares a missing name with every unexpected name


def is_float(array: np.ndarray) -> bool:
    """Return whether the array holds floating-point numbers, including bfloat16."""
    return np.issubdtype(array.dtype, np.floating) or array.dtype == BFLOAT16


def fits_spec(name: str, array: np.ndarray, spec: Spec) -> bool:
    """Return whether the spec has a weight of this name and shape and the array holds floating-point numbers."""
    return name in spec.weights and array.shape == spec.weights[name].shape and is_float(array)


def check_weights(
    arrays: Mapping[str, np.ndarray], spec: Spec, names: Mapping[str, str] | None = None, source: str = "these weights"
) -> None:
    """Check that the arrays are exactly the spec's weights, in floating-point and finite numbers.

    names: canonical name -> name in the file that the arrays were read from. source: what the message calls them.
    Raises ReproError that lists every missing, unexpected and misshapen weight.
    """
    errors = list(mismatches(arrays, spec.weights, names))
    if errors:
        raise ReproError(
            f"{source} do not fit {spec.name} with {spec.num_classes} classes and {spec.in_channels} input channels; "
            f"{counted(len(errors), 'mismatch', 'mismatches')} in {len(spec.weights)} weights: {'; '.join(errors)}"
        )


def mismatches(
    arrays: Mapping[str, np.ndarray], weights: Mapping[str, Weight], names: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Describe every difference between the arrays and the weights in one line.

    A missing weight comes with the most similar unexpected name.
    """
    file_names = names or {}
    unexpected = [name for name in arrays if name not in weights]
    suggestions = 0
    for name, weight in weights.items():
        file_name = file_names.get(name, name)
        label = name if file_name == name else f"{file_name} (canonical name {name})"
        if name not in arrays:
            similar: list[str] = []
            if suggestions < MAX_SUGGESTIONS:
                suggestions += 1
                similar = difflib.get_close_matches(file_name, unexpected[:200], n=1, cutoff=0.6)
            yield f"{label} is missing" + (f" (did you mean {printable(similar[0])}?)" if similar else "")
        elif tuple(arrays[name].shape) != weight.shape:
            yield f"{label} has shape {tuple(arrays[name].shape)} instead of {weight.shape}"
        elif not is_float(arrays[name]):
            yield f"{label} holds {arrays[name].dtype} instead of floating-point numbers"
        elif not np.isfinite(arrays[name]).all():
            yield f"{label} holds NaN or infinity"
    for name in unexpected:
        yield f"{printable(name)} is unexpected"
