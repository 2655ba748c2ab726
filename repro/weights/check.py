"""Strictness: arrays fit a network entirely or not at all."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

import numpy as np

from repro.errors import ReproError
from repro.specs import Spec, Weight


def check(arrays: Mapping[str, np.ndarray], spec: Spec) -> None:
    """Raises ReproError with every missing, unexpected, wrongly shaped and non-floating name."""
    complaints = list(_complaints(arrays, spec.weights))
    if complaints:
        raise ReproError(
            f"these weights do not fit {spec.name} with {spec.num_classes} classes and {spec.in_channels} input "
            f"channels; of {len(spec.weights)} names, {len(complaints)} complaints: {'; '.join(complaints)}"
        )


def _complaints(arrays: Mapping[str, np.ndarray], weights: Mapping[str, Weight]):
    unexpected = [name for name in arrays if name not in weights]
    for name, weight in weights.items():
        if name not in arrays:
            near = difflib.get_close_matches(name, unexpected, n=1, cutoff=0.6)
            yield f"{name} is missing" + (f" (is it {near[0]}?)" if near else "")
        elif tuple(arrays[name].shape) != weight.shape:
            yield f"{name} has shape {tuple(arrays[name].shape)} instead of {weight.shape}"
        elif not np.issubdtype(arrays[name].dtype, np.floating):
            yield f"{name} holds {arrays[name].dtype} instead of floating-point numbers"
    for name in unexpected:
        yield f"{name} is unexpected"
