"""Layers of every backend against their formulas: activations with their gradients, and running statistics."""

from __future__ import annotations

from collections.abc import Callable
from math import erf
from typing import Any

import numpy as np

Run = Callable[..., Any]
Formula = Callable[[np.ndarray], np.ndarray]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, 1, np.exp(np.minimum(x, 0))) / (1 + np.exp(-abs(x)))


FORMULAS: dict[str, Formula] = {
    "none": lambda x: x,
    "relu": lambda x: x.clip(0),
    "relu6": lambda x: x.clip(0, 6),
    "hard_sigmoid": lambda x: (x + 3).clip(0, 6) / 6,
    "hard_swish": lambda x: x * (x + 3).clip(0, 6) / 6,
    "sigmoid": sigmoid,
    "silu": lambda x: x * sigmoid(x),
    "gelu": lambda x: x * (1 + np.vectorize(erf)(x / 2**0.5)) / 2,
}
INPUTS = [-1e4, -200, -100, -89, -20, -4, -2, -0.5, 0.5, 2, 4, 20, 89, 100, 200, 1e4]


def test_activations_and_their_gradients_far_from_zero(backend: str, run_program: Run) -> None:
    """Activations see inputs in the hundreds during training; a gradient must be right where exp() overflows."""
    results = run_program(backend, "layers:activations", backend, INPUTS)
    assert set(results) == set(FORMULAS)
    x, h = np.array(INPUTS, np.float32).astype(np.float64), 1e-4
    for name, formula in FORMULAS.items():
        outputs, gradients = results[name]
        assert np.allclose(outputs, formula(x), 1e-5, 1e-6), (name, outputs)
        assert np.allclose(gradients, (formula(x + h) - formula(x - h)) / (2 * h), 1e-5, 1e-6), (name, gradients)


def test_running_variance_is_unbiased(backend: str, run_program: Run) -> None:
    """The biased variance of 8 values per channel would be an eighth too low."""
    images = np.random.default_rng(0).standard_normal((2, 3, 2, 2)).astype(np.float32)
    variance = run_program(backend, "layers:running_variance", backend, images.tolist())
    expected = 0.99 + 0.01 * images.var((0, 2, 3), ddof=1)
    assert np.abs(variance - expected).max() < 1e-6, (variance, expected)
