"""A value that a formula must give, up to rounding."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from repro.parity.tolerance import root_mean_square

CLOSE = 3e-5  # largest error of a formula, relative to the root mean square of the value
SAMPLED = 16  # elements on which a formula is tried first


class Target:
    """A value that a formula must give."""

    def __init__(self, array: np.ndarray):
        self.array = array.astype(np.float64)
        self.shape, self.ndim = array.shape, array.ndim
        self.tolerance = CLOSE * root_mean_square(self.array)
        self.few = slice(None, None, max(1, array.size // SAMPLED))
        self.sample = self.array.reshape(-1)[self.few]

    def equals(self, value: np.ndarray) -> bool:
        """Return whether a value is the target up to rounding."""
        if value.shape != self.shape:
            return False
        if np.abs(value.reshape(-1)[self.few] - self.sample).max(initial=0.0) > self.tolerance:
            return False
        return bool(np.abs(value - self.array).max(initial=0.0) <= self.tolerance)

    def fits(self, function: Callable[..., np.ndarray], arguments: Sequence[np.ndarray]) -> bool:
        """Return whether an elementwise function of arrays of the target's shape gives it.

        A few elements are tried first.
        """
        few = function(*(argument.reshape(-1)[self.few] for argument in arguments))
        if not np.abs(few - self.sample).max(initial=0.0) <= self.tolerance:
            return False
        return self.equals(function(*arguments))
