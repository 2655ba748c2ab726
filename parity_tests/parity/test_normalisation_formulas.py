"""repro.parity.causes.normalised: a wrong normalisation is told from the right one."""

from __future__ import annotations

import numpy as np
import pytest

from repro.parity.causes.normalised import explain_normalisation

RNG = np.random.default_rng(0)
X, SCALE, SHIFT = RNG.standard_normal((2, 8, 6, 6)), RNG.standard_normal((8, 1, 1)), RNG.standard_normal((8, 1, 1))


def normalise(axes: tuple[int, ...], *, ddof: int = 0, epsilon: float = 1e-6, outside: float = 0.0) -> np.ndarray:
    centred = X - X.mean(axes, keepdims=True)
    return SCALE * centred / (np.sqrt(X.var(axes, ddof=ddof, keepdims=True) + epsilon) + outside) + SHIFT


RIGHT = "(x - mean) / sqrt(variance + 1e-06) over axis 1"
WRONG = {
    "(x - mean) / sqrt(variance + 1e-06) over axes 2, 3": normalise((2, 3)),
    "(x - mean) / sqrt(variance + 1e-06) over axes 1, 2, 3": normalise((1, 2, 3)),
    "(x - mean) / sqrt(variance + 1e-05) over axis 1": normalise((1,), epsilon=1e-5),
    "(x - mean) / sqrt(unbiased variance + 1e-06) over axis 1": normalise((1,), ddof=1),
    "(x - mean) / (sqrt(variance) + 1e-06) over axis 1": normalise((1,), epsilon=0, outside=1e-6),
    "x / sqrt(mean of squares + 1e-06) over axis 1": (
        SCALE * X / np.sqrt(np.square(X).mean(1, keepdims=True) + 1e-6) + SHIFT
    ),
}


@pytest.mark.parametrize("formula", WRONG)
def test_a_wrong_normalisation_is_named(formula: str) -> None:
    assert explain_normalisation(X, normalise((1,)), WRONG[formula], 1e-9) == (RIGHT, formula)


def test_what_is_no_other_normalisation_is_not_named() -> None:
    right = normalise((1,))
    assert explain_normalisation(X, right, right + 1e-3, 1e-9) is None
    assert explain_normalisation(X, right, right, 1e-9) is None
    assert explain_normalisation(X, np.maximum(X, 0), right, 1e-9) is None
    assert explain_normalisation(X, right, X[:, :4], 1e-9) is None
