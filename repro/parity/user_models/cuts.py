"""Modules that are cut elsewhere: the same computation, divided among modules in another way.

A normalisation may contain the activation that another model runs after it, a module may hold its maps in another
layout, and a convolution may pad more where the other model crops. So the output of a module counts only where what
enters the next module, or the output of the model, is off too. Nothing is accepted beyond the tolerance of the array.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import permutations, product

import numpy as np

from repro.arrays import Arrays
from repro.interface.module_outputs import INPUT_PREFIX, RUNNING_STATISTICS, is_output
from repro.parity.comparison import AGREEMENT, ArrayComparison
from repro.parity.tolerance import root_mean_square

GROSS_SHARE = 1e-2  # an error of this share of an array is not lost in the tolerances of all later arrays
MAX_CROP = 3  # pixels at one side
STEEPEST_SLOPE = 1.2  # activations enlarge errors by at most this factor
SAMPLED = 512  # elements on which an activation is tried first
MAX_TURNED_AXES = 4


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(x / 2))


def _gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.vectorize(math.erf, otypes=[float])(x / math.sqrt(2)))


ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "ReLU": lambda x: np.maximum(x, 0),
    "ReLU6": lambda x: np.clip(x, 0, 6),
    "SiLU": lambda x: x * _sigmoid(x),
    "hard swish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "sigmoid": _sigmoid,
    "hard sigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
    "tanh": np.tanh,
    "leaky ReLU": lambda x: np.where(x < 0, 0.01 * x, x),
    "GELU": _gelu,
}


def accept_other_cuts(exact: Arrays, results: Arrays, comparisons: Sequence[ArrayComparison]) -> list[ArrayComparison]:
    """The comparisons, with agreement in place of divergence where a module is only cut elsewhere.

    exact: the reference, with the input and output of every module in the order of computation; results: those of the
    other model in one dtype; comparisons: one for each array of the reference.
    """
    names, accepted = list(exact), list(comparisons)
    entering = list(_entering(exact))

    def agrees(indices: Iterable[int]) -> bool:
        return all(accepted[index].verdict in AGREEMENT for index in indices)

    for index in reversed(range(len(names))):  # what a module passes on is judged before the module
        name, comparison = names[index], accepted[index]
        is_module = not is_output(name) and not name.endswith(RUNNING_STATISTICS) and name in results
        if comparison.verdict != "diverges" or not is_module or not _is_finite(results[name], exact[name]):
            continue
        layout = _describe_layout(results[name], exact[name], comparison.tolerance)
        later = [other for other in entering if other > index]
        relation = ""
        if layout and results[name].shape != exact[name].shape:
            relation = layout
        elif name.startswith(INPUT_PREFIX):  # padded before the module in place of inside it
            output = name.removeprefix(INPUT_PREFIX)
            if output in exact and agrees([names.index(output)]):
                relation = layout or _describe_crop(results[name], exact[name], comparison.tolerance)
        elif any(agrees([other]) and _passes_on((results, exact), name, names[other]) for other in later):
            relation = "what enters the next module agrees"
        else:
            relation = layout or next(_describe_cuts(results[name], exact[name], comparison.tolerance), "")
            if relation and not agrees(later[:1]) and _passes_on_uncut(results, exact, name, names[later[0]]):
                relation = ""  # the other model lacks what this module contains
            elif not relation and agrees(later) and _is_gross(results[name], exact[name]):
                relation = "all that follows agrees"
        if relation:
            reason = f"it is cut elsewhere: {relation}"
            accepted[index] = replace(comparison, verdict="rounding", max_error=0.0, reason=reason, exceeding=None)
    return accepted


def _entering(exact: Arrays) -> Iterator[int]:
    """Yield the index of each array that enters a module for the first time, and of each output of the model."""
    earlier: set[int] = set()
    for index, (name, array) in enumerate(exact.items()):
        if is_output(name):
            yield index
        elif name.startswith(INPUT_PREFIX):
            content = hash(array.tobytes())
            if content not in earlier:
                yield index
            earlier.add(content)


def _is_finite(actual: np.ndarray, expected: np.ndarray) -> bool:
    return bool(actual.size and np.isfinite(actual).all() and np.isfinite(expected).all())


def _is_gross(actual: np.ndarray, expected: np.ndarray) -> bool:
    if actual.shape != expected.shape:
        return actual.size != expected.size  # otherwise it is another layout with an error
    return root_mean_square(actual - expected) > GROSS_SHARE * root_mean_square(expected)


def _passes_on(models: Iterable[Arrays], output: str, entering: str) -> bool:
    """Return whether the output is what enters the later module, or leaves the model, in one of some models."""
    return any(
        output in arrays and entering in arrays and _same_elements(arrays[output], arrays[entering])
        for arrays in models
    )


def _passes_on_uncut(results: Arrays, exact: Arrays, output: str, entering: str) -> bool:
    """Return whether the output enters the next module as it is in both models."""
    return all(_passes_on([arrays], output, entering) for arrays in (results, exact))


def _same_elements(left: np.ndarray, right: np.ndarray) -> bool:
    """Return whether two arrays have the same elements, in whatever order."""
    if left.size != right.size or left.max() != right.max() or left.min() != right.min():
        return False
    return np.array_equal(np.sort(left, axis=None), np.sort(right, axis=None))


def _describe_layout(actual: np.ndarray, expected: np.ndarray, tolerance: float) -> str:
    """The order of axes in which the arrays agree, such as "another layout, (N, H, W, C)", or ""."""
    if actual.size != expected.size:
        return ""
    for axes in permutations(range(expected.ndim)):
        if expected.ndim > MAX_TURNED_AXES or (expected.ndim == MAX_TURNED_AXES and axes[0] != 0):
            break
        turned = expected.transpose(axes).reshape(actual.shape)
        if np.abs(actual - turned).max() <= tolerance:
            return f"another layout, {actual.shape} in place of {expected.shape}"
    return ""


def _describe_cuts(actual: np.ndarray, expected: np.ndarray, tolerance: float) -> Iterator[str]:
    """Yield the activation or crop that one of the arrays lacks."""
    if crop := _describe_crop(actual, expected, tolerance):
        yield crop
    if actual.shape != expected.shape:
        return
    step = max(1, actual.size // SAMPLED)
    limit = STEEPEST_SLOPE * tolerance
    for name, activation in ACTIVATIONS.items():
        for left, right in ((expected, actual), (actual, expected)):
            pairs = ((left.ravel()[::step], right.ravel()[::step]), (left, right))  # a few elements first
            if all(np.abs(activation(before.astype(np.float64)) - after).max() <= limit for before, after in pairs):
                yield f"one of the modules contains {name}"


def _describe_crop(actual: np.ndarray, expected: np.ndarray, tolerance: float) -> str:
    """The difference in size between two maps (N, C, H, W) of which one is a part of the other, or ""."""
    if actual.ndim != 4 or expected.ndim != 4 or actual.shape[:2] != expected.shape[:2]:
        return ""
    small, large = sorted((actual, expected), key=lambda array: array.shape[2:])
    (height, width), extra = small.shape[2:], np.subtract(large.shape[2:], small.shape[2:])
    if not extra.any() or extra.min() < 0 or extra.max() > 2 * MAX_CROP:
        return ""
    for top, left in product(range(extra[0] + 1), range(extra[1] + 1)):
        if np.abs(large[:, :, top : top + height, left : left + width] - small).max() <= tolerance:
            return f"another border, {actual.shape[2:]} in place of {expected.shape[2:]} pixels"
    return ""
