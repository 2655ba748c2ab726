"""Formulas that explain how a value is computed from others, found by trying what networks commonly compute.

The value that is right and the one that is wrong are both tried, so that a difference has a name on both sides:
"torch computes gelu(x), and paddle gelu(x, tanh approximation)".
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

import numpy as np

from repro.interface.module_outputs import INPUT_PREFIX
from repro.parity.causes.elementwise import ELEMENTWISE
from repro.parity.causes.joined import joined_matches
from repro.parity.causes.several_sources import computed_matches
from repro.parity.causes.target import Target
from repro.parity.causes.weighted import weighted_matches

MAX_ELEMENTS = 1 << 20  # larger values are not explained
MAX_SEARCHED = 1 << 16  # values that are joined, or combined with weights, have no more elements than this
MAX_SOURCES = 4


def explain_operations(
    sources: Mapping[str, np.ndarray], other_sources: Mapping[str, np.ndarray], weights: Mapping[str, np.ndarray],
    right: np.ndarray, wrong: np.ndarray,
) -> tuple[str, str] | None:  # fmt: skip
    """The formulas of a right and of a wrong value, from their sources by name; None unless the right one has one.

    weights: those that belong to no layer, of which a formula may make use. The second formula is "" where none was
    found.
    """
    if max(right.size, wrong.size) > MAX_ELEMENTS:
        return None
    formula = find_formula(sources, right, weights)
    other_formula = find_formula(other_sources, wrong, weights)
    if formula == other_formula and not Target(right).equals(wrong):  # the factors differ
        other_formula = formula.replace("a factor for each channel", "another factor for each channel")
    if formula and other_formula != formula:
        return formula, other_formula
    if right.shape != wrong.shape or Target(right).equals(wrong):
        return None
    for name, function in ELEMENTWISE.items():
        if name != "{}":
            if Target(wrong).fits(function, [right]):
                return "a value", name.format("that value")
            if Target(right).fits(function, [wrong]):
                return name.format("a value"), "that value"
    return None


def find_formula(
    sources: Mapping[str, np.ndarray], result: np.ndarray, weights: Mapping[str, np.ndarray] | None = None
) -> str:
    """The first formula of the sources, perhaps with weights that belong to no layer, that gives the result, or ""."""
    named = {readable(name): array.astype(np.float64) for name, array in sources.items()}
    largest = max([result.size, *(array.size for array in named.values())])
    if not named or len(named) > MAX_SOURCES or not 0 < largest <= MAX_ELEMENTS or not np.isfinite(result).all():
        return ""
    target = Target(result)
    matches = computed_matches(named, target)
    if largest <= MAX_SEARCHED:
        loose = {name: array.astype(np.float64) for name, array in (weights or {}).items()}
        matches = chain(matches, joined_matches(named, target), weighted_matches(named, loose, target))
    with np.errstate(all="ignore"):
        return next(matches, "")


def readable(name: str) -> str:
    """The name of a value in a sentence."""
    return name.removeprefix(INPUT_PREFIX) + "'s input" if name.startswith(INPUT_PREFIX) else name
