"""The comparison of two arrays, and the one that stands for several."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from repro.parity.tolerance import root_mean_square

Verdict = Literal["equal", "rounding", "constant", "diverges", "unanswerable"]
AGREEMENT: tuple[Verdict, ...] = ("equal", "rounding", "constant")
FEW = 0.01  # share of the elements of an array, beyond the tolerance, that values on a kink may explain


@dataclass(frozen=True)
class ArrayComparison:
    """The outcome of compare_arrays.

    where: the stage or weight that was compared; max_error: the largest absolute difference, None where there is no
    number (shapes differ, a value is not finite); tolerance: the largest difference that counts as rounding; exceeding:
    the flat indices of the elements beyond the tolerance, where they are few. The comparison is unanswerable where
    rounding may be so large that a real error could hide in it. A constant is that of a framework.
    """

    verdict: Verdict
    where: str
    max_error: float | None
    tolerance: float
    reason: str
    exceeding: frozenset[int] | None = None

    @property
    def error_ratio(self) -> float:
        """The error in units of the tolerance; infinite where there is no number."""
        if self.max_error is None:
            return float("inf")
        return self.max_error / self.tolerance if self.tolerance else float(self.max_error > 0)


def compare_arrays(
    where: str, actual: np.ndarray, reference: np.ndarray, *, tolerance: float, dtype: type = np.float32,
    ceiling: float = math.inf,
) -> ArrayComparison:  # fmt: skip
    """Compare an array, which must be of `dtype`, with a reference: shape, dtype, finiteness, then every element.

    There is no broadcasting and no averaging, and a NaN or an infinity never equals another. ceiling: the root mean
    square of errors that are within the tolerance, above which the comparison is unanswerable.
    """

    def diverges(reason: str, error: float | None = None, exceeding: frozenset[int] | None = None) -> ArrayComparison:
        return ArrayComparison("diverges", where, error, tolerance, reason, exceeding)

    if actual.shape != reference.shape:
        return diverges(f"shape {actual.shape} instead of {reference.shape}")
    if actual.dtype != dtype:
        return diverges(f"dtype {actual.dtype} instead of {np.dtype(dtype)}")
    for owner, array in (("", actual), ("the reference has ", reference)):
        not_finite = ~np.isfinite(array)
        if not_finite.any():
            share = f"{not_finite.sum()} of {array.size} elements are not finite"
            return diverges(f"{owner}{array[not_finite][0]} at {_first_index(not_finite)}; {share}")
    if np.array_equal(actual, reference.astype(dtype)):
        return ArrayComparison("equal", where, 0.0, tolerance, "bit-identical")
    errors = np.abs(actual.astype(np.float64) - reference.astype(np.float64))
    largest = float(errors.max())
    if largest > tolerance:
        index = np.unravel_index(errors.argmax(), errors.shape)
        exceeding = np.flatnonzero(errors > tolerance)
        count = len(exceeding)
        return diverges(
            f"{actual[index]:.6g} instead of {reference[index]:.6g} at {_first_index(errors == largest)}, an error of "
            f"{largest:.2g} where the tolerance is {tolerance:.2g}; {count} of {errors.size} elements exceed it",
            largest,
            frozenset(map(int, exceeding)) if count <= max(1, FEW * errors.size) else None,
        )
    reason = f"largest error {largest:.2g}, tolerance {tolerance:.2g}"
    verdict: Verdict = "rounding"
    if (error := root_mean_square(errors)) > ceiling:
        size = root_mean_square(reference.astype(np.float64))
        verdict, reason = (
            "unanswerable",
            (
                f"errors of {error:.2g} on values of {size:.2g} (RMS) may be rounding or not, since the tolerance is "
                f"{tolerance:.2g}; random numbers that are not shared, or an ill-conditioned model?"
            ),
        )
    return ArrayComparison(verdict, where, largest, tolerance, reason)


def most_critical(comparisons: Iterable[ArrayComparison]) -> ArrayComparison:
    """The first comparison without agreement, in the order of computation, or else the one nearest to its tolerance."""
    candidates = list(comparisons)
    for comparison in candidates:
        if comparison.verdict not in AGREEMENT:
            return comparison
    return max(candidates, key=lambda comparison: (AGREEMENT.index(comparison.verdict), comparison.error_ratio))


def _first_index(mask: np.ndarray) -> str:
    """The first index at which a mask is true."""
    return str([int(i) for i in np.argwhere(mask)[0]])
