"""The inputs of a model among the arrays of a request, in the precision of the model."""

from __future__ import annotations

import numpy as np

from repro.arrays import Arrays


def model_inputs(arrays: Arrays, *, float64: bool) -> np.ndarray | list[np.ndarray]:
    """The inputs of a model among the arrays of a request, those with fractions in the precision of the model."""
    names = [name for name in arrays if name == "images" or name.startswith("input ")]
    inputs = [
        as_float(arrays[name], float64=float64) if arrays[name].dtype.kind == "f" else np.array(arrays[name])
        for name in sorted(names, key=lambda name: (name != "images", len(name), name))
    ]
    return inputs[0] if len(inputs) == 1 else inputs


def as_float(array: np.ndarray, *, float64: bool) -> np.ndarray:
    """A copy in the precision of the model. Arrays that were read from a file are read-only."""
    return array.astype(np.float64 if float64 else np.float32)
