"""One comparison of two arrays, and the verdict over many."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

Verdict = Literal["equal", "rounding", "diverges"]


@dataclass(frozen=True)
class Comparison:
    """where: the stage or weight; max_error: the largest absolute difference, None where there is none to speak of
    (another shape, a NaN); tolerance: the difference up to which it counts as rounding."""

    verdict: Verdict
    where: str
    max_error: float | None
    tolerance: float
    reason: str

    @property
    def ratio(self) -> float:
        """Error in units of the tolerance."""
        if self.max_error is None:
            return float("inf")
        return self.max_error / self.tolerance if self.tolerance else float(self.max_error > 0)


def compare(
    where: str, actual: np.ndarray, reference: np.ndarray, *, tolerance: float, dtype: type = np.float32
) -> Comparison:
    """Holds `actual`, which must be of `dtype`, against `reference`: shape, then dtype, then finiteness, then every
    element by itself. No broadcasting, no means, and no NaN or infinity that would equal another."""

    def diverges(reason: str, error: float | None = None) -> Comparison:
        return Comparison("diverges", where, error, tolerance, reason)

    if actual.shape != reference.shape:
        return diverges(f"shape {actual.shape} instead of {reference.shape}")
    if actual.dtype != dtype:
        return diverges(f"{actual.dtype} instead of {np.dtype(dtype)}")
    for what, array in (("", actual), ("the reference has ", reference)):
        bad = ~np.isfinite(array)
        if bad.any():
            return diverges(f"{what}{array[bad][0]} at {_place(bad)} and {bad.sum() - 1} more that are not finite")
    if np.array_equal(actual, reference.astype(dtype)):
        return Comparison("equal", where, 0.0, tolerance, "equal to the bit")
    errors = np.abs(actual.astype(np.float64) - reference.astype(np.float64))
    worst = float(errors.max())
    if worst > tolerance:
        at = np.unravel_index(errors.argmax(), errors.shape)
        count = int((errors > tolerance).sum())
        return diverges(
            f"{actual[at]:.6g} instead of {reference[at]:.6g} at {_place(errors == worst)}, off by {worst:.2g} where "
            f"{tolerance:.2g} is rounding; {count} of {errors.size} elements are off",
            worst,
        )
    return Comparison("rounding", where, worst, tolerance, f"off by at most {worst:.2g}, rounding is {tolerance:.2g}")


def overall(comparisons: Iterable[Comparison]) -> Comparison:
    """The comparison that speaks for all: the first that diverges in the order of computation, else the one nearest to
    its tolerance."""
    found = list(comparisons)
    for comparison in found:
        if comparison.verdict == "diverges":
            return comparison
    return max(found, key=lambda comparison: (comparison.verdict == "rounding", comparison.ratio))


def _place(mask: np.ndarray) -> str:
    """The first index at which a mask holds."""
    return str([int(i) for i in np.argwhere(mask)[0]])
