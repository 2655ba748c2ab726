"""The right results of an operator: its definition in NumPy, in float64, and the definition's derivatives."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from repro.arrays import Arrays
from repro.errors import ReproError
from repro.parity.operators.operator import Operator, Value
from repro.parity.tolerance import (
    CEILING,
    LEAST_RELATIVE_TOLERANCE,
    measure_ceilings,
    measure_tolerances,
    perturb_last_bits,
    root_mean_square,
)

STEP, RELATIVE_STEP = 1e-5, 1e-8  # the change of an input for a derivative: the larger, the second times the input
KINK = 1e-3  # difference of the derivatives on both sides, relative to the gradient, at which an input lies on a kink
SAMPLED = 48  # elements of an input whose derivatives are worked out; those of others are not known
PERTURBATIONS = 2
GRADIENT = "gradient of "


@dataclass(frozen=True)
class Definition:
    """The right results by name, between `low` and `high`, with the tolerance and the ceiling of their errors.

    Both ends are equal except for a gradient at a kink, where every value between the derivatives on either side is
    right. A gradient is NaN where it is not known: the result is not finite, or the input has too many elements.
    """

    low: Arrays
    high: Arrays
    tolerances: Mapping[str, float]
    ceilings: Mapping[str, float]


def define(
    operator: Operator, inputs: Arrays, settings: Mapping[str, Value], *, perturbations: int = PERTURBATIONS
) -> Definition:
    """Work out the right results, and the tolerances from this number of runs with perturbed inputs.

    Raises ReproError for settings for which the operator is not defined.
    """
    exact = {name: array.astype(np.float64) for name, array in inputs.items()}

    def compute(arrays: Arrays) -> Arrays:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # means of empty slices, which are NaN
            return {name: np.asarray(array, np.float64) for name, array in operator.define(arrays, settings).items()}

    try:
        low = compute(exact)
        high = dict(low)
        upstream = (1.5 + np.cos(np.arange(low["y"].size))).reshape(low["y"].shape)
        for name in operator.differentiable:
            low[GRADIENT + name], high[GRADIENT + name] = _derivatives(compute, exact, name, upstream)
        runs = [{name: _middle(low[name], high[name]) for name in low}]
        for seed in range(0 if _kinked(low, high) else perturbations):
            moved = exact | {
                name: perturb_last_bits(inputs[name], seed).astype(np.float64) for name in operator.differentiable
            }
            if all(np.isfinite(array).all() for array in moved.values()):
                runs.append(compute(moved))
                for name in operator.differentiable:
                    runs[-1][GRADIENT + name] = _middle(*_derivatives(compute, moved, name, upstream))
    except (ValueError, IndexError, ZeroDivisionError, TypeError, OverflowError) as error:
        raise ReproError(f"{operator.name} is not defined for these settings ({error}); change --set") from error
    middle = {name: np.nan_to_num(array, posinf=0.0, neginf=0.0) for name, array in runs[0].items()}
    finite_runs = [
        {name: np.where(np.isfinite(runs[0][name] + run[name]), run[name], middle[name]) for name in low}
        for run in runs
    ]
    measured = measure_tolerances(finite_runs, finite_runs[0])
    # a gradient is a sum of products with the upstream gradient, whose terms may cancel
    terms = root_mean_square(upstream)
    least = {name: LEAST_RELATIVE_TOLERANCE * terms if name.startswith(GRADIENT) else 0.0 for name in measured}
    tolerances = {name: max(tolerance, least[name]) for name, tolerance in measured.items()}
    return Definition(low, high, tolerances, measure_ceilings(finite_runs[0], CEILING))


def _kinked(low: Arrays, high: Arrays) -> bool:
    return any((high[name] > low[name]).any() for name in low)


def _middle(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    return (low + high) / 2


def _derivatives(
    compute: Callable[[Arrays], Arrays], inputs: Arrays, name: str, upstream: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The least and the largest right gradient of sum(upstream * y) with respect to an input."""
    values = inputs[name]
    left, right = np.full(values.shape, np.nan), np.full(values.shape, np.nan)
    center = compute(inputs)["y"]

    def slope(index: tuple[int, ...], step: float) -> float:
        moved = values.copy()
        moved[index] += step
        return (upstream * (compute(inputs | {name: moved})["y"] - center)).sum() / (moved[index] - values[index])

    indices = list(np.ndindex(values.shape))
    if len(indices) > SAMPLED:
        indices = [indices[i] for i in np.random.default_rng(0).choice(len(indices), SAMPLED, replace=False)]
    with np.errstate(all="ignore"):
        for index in indices:
            step = max(STEP, RELATIVE_STEP * abs(float(values[index])))
            slopes = slope(index, -step), slope(index, step)
            nearer = slope(index, -step / 10), slope(index, step / 10)
            if np.allclose(slopes, nearer, rtol=KINK, atol=KINK):  # otherwise it is steeper than steps can see
                left[index], right[index] = slopes
        is_kink = np.abs(right - left) > KINK * max(1.0, float(np.nan_to_num(np.abs(left)).max(initial=0.0)))
        middle = (left + right) / 2
    return np.where(is_kink, np.minimum(left, right), middle), np.where(is_kink, np.maximum(left, right), middle)
