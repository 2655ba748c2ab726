"""Formulas of normalisations, which users write in many ways."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from repro.parity.tolerance import root_mean_square

MAX_NORMALISED = 1 << 17  # larger values are not explained
EPSILONS = (1e-5, 1e-6, 1e-3, 1e-12, 1e-7, 1e-8)
AXES = {2: ((1,), (0,)), 3: ((2,), (1,), (1, 2)), 4: ((1,), (2, 3), (1, 2, 3), (0, 2, 3), (3,))}  # by number of axes


def explain_normalisation(
    source: np.ndarray, right: np.ndarray, wrong: np.ndarray, tolerance: float
) -> tuple[str, str] | None:
    """The formulas of a right and of a wrong normalisation with equal scales and shifts; None unless both are found.

    tolerance: relative to the right value. Scale and shift are fitted to the right value, one of each for a channel.
    """
    if not source.shape == right.shape == wrong.shape or source.ndim not in AXES or source.size > MAX_NORMALISED:
        return None
    x, limit = source.astype(np.float64), tolerance * root_mean_square(right)
    results = dict(_normalisations(x))
    fits = {(formula, axis): _fit(array, right, axis) for formula, array in results.items() for axis in {1, x.ndim - 1}}
    errors = {key: _error(results[key[0]], fit, right) for key, fit in fits.items()}
    best = min(errors, key=lambda key: errors[key])
    others = {formula: _error(array, fits[best], wrong) for formula, array in results.items()}
    other = min(others, key=lambda formula: others[formula])
    found = errors[best] <= limit and others[other] <= limit and other != best[0]
    return (best[0], other) if found else None


def _error(normalised: np.ndarray, fit: tuple[np.ndarray, np.ndarray], target: np.ndarray) -> float:
    scale, shift = fit
    return float(np.abs(scale * normalised + shift - target).max())


def _normalisations(x: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the formulas and the results of normalisations without a scale and a shift."""
    for axes in AXES[x.ndim]:
        count = int(np.prod([x.shape[axis] for axis in axes]))
        place = f"over {'axis' if len(axes) == 1 else 'axes'} {', '.join(map(str, axes))}"
        centred = x - x.mean(axes, keepdims=True)
        squares, variance = (np.square(array).mean(axes, keepdims=True) for array in (x, centred))
        forms = [("(x - mean)", "variance", centred, variance), ("x", "mean of squares", x, squares)]
        forms += [("x", "variance", x, variance)]
        if count > 1:
            forms.append(("(x - mean)", "unbiased variance", centred, variance * count / (count - 1)))
        for top, bottom, numerator, square in forms:
            for epsilon in EPSILONS:
                yield f"{top} / sqrt({bottom} + {epsilon:g}) {place}", numerator / np.sqrt(square + epsilon)
                yield f"{top} / (sqrt({bottom}) + {epsilon:g}) {place}", numerator / (np.sqrt(square) + epsilon)


def _fit(x: np.ndarray, target: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """The scale and the shift of each channel with which a value is closest to the target."""
    axes = tuple(other for other in range(x.ndim) if other != axis)
    mean, target_mean = x.mean(axes, keepdims=True), target.mean(axes, keepdims=True)
    spread = np.square(x - mean).sum(axes, keepdims=True)
    scale = ((x - mean) * (target - target_mean)).sum(axes, keepdims=True) / np.where(spread, spread, 1)
    return scale, target_mean - scale * mean
