"""What float32 amounts to in one computation: measured, by what the reference does when the last bits of its input
change, and by what it does in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

# An error may be that many times the largest of the reference's own. The largest seen in a sound backend was 7.6, in
# Paddle's sums of 25,088 products (VGG's first linear layer)
SPREAD = 16.0
# The same as a multiple of the root mean square, where one run alone measures it: the largest of many elements, added
# up in another order, stays within it
ROUNDING = 64.0
# No error counts below this multiple of float32's resolution of the array's typical value: an array may come out equal
# by chance
FLOOR = 64 * float(np.finfo(np.float32).eps)


def perturbed(images: np.ndarray, seed: int) -> np.ndarray:
    """The images with the last bit of every number moved up or down."""
    up = np.random.default_rng(seed).random(images.shape) < 0.5
    return np.nextafter(images, np.where(up, np.inf, -np.inf).astype(images.dtype))


def rounding(single: np.ndarray, exact: np.ndarray) -> float:
    """The tolerance of one array where there is a single float32 run of the reference."""
    if single.shape != exact.shape:
        return 0.0
    lost = float(np.sqrt(np.mean(np.square(single - exact))))
    floor = float(np.finfo(np.float32).eps * np.sqrt(np.mean(np.square(exact))))  # it may be exact by chance
    return ROUNDING * max(lost, floor) if np.isfinite(lost) else 0.0


def tolerances(runs: Sequence[Mapping[str, np.ndarray]], exact: Mapping[str, np.ndarray]) -> dict[str, float]:
    """For each array of the float64 run, the error that is rounding, from the float32 runs of the same framework."""
    allowed = {}
    for name, reference in exact.items():
        errors = [np.abs(run[name] - reference).max(initial=0.0) for run in runs]
        typical = float(np.sqrt(np.mean(np.square(reference))))
        largest = float(max(errors))
        allowed[name] = max(SPREAD * largest, FLOOR * typical) if np.isfinite(largest) else 0.0
    return allowed
