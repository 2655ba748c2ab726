"""The comparison of two runs of one model on the same bits."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

# Largest difference of two runs, relative to the root mean square of the array, that counts as the framework's own:
# MindSpore changes the number of its threads, and with it the last bits of sums, from call to call
LARGEST_OWN_DIFFERENCE = 64 * float(np.finfo(np.float32).eps)


def first_difference(first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]) -> str:
    """The name of the first result that differs between two runs, or ""."""
    for name, array in first.items():
        if name not in second or second[name].shape != array.shape:
            return name
        if np.array_equal(array, second[name], equal_nan=array.dtype.kind == "f"):
            continue
        left, right = array.astype(np.float64), second[name].astype(np.float64)
        limit = LARGEST_OWN_DIFFERENCE * float(np.sqrt(np.mean(np.square(left))))
        if not np.abs(left - right).max() <= limit:  # a NaN differs, too
            return name
    return next((name for name in second if name not in first), "")
