"""The verdict on an operator: the results of every framework, compared with those that its own documentation defines.

bug: a framework does not compute what it documents; refused: a framework raises an error instead; convention: all
compute what they document, but the documentations differ, or leave it open; rounding: they document the same, and
compute it within the tolerance; equal: with the same bits; unanswerable: rounding may be as large as the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np

from repro.arrays import Arrays
from repro.parity.comparison import ArrayComparison, compare_arrays
from repro.parity.operators.definition import GRADIENT, Definition, define
from repro.parity.operators.operator import Operator, Value, describe, to_text
from repro.parity.operators.script import worker_script
from repro.workers.client import Worker

OperatorVerdict = Literal["equal", "rounding", "convention", "bug", "refused", "unanswerable"]
DefineSettings = Callable[[Mapping[str, Value]], Definition]

# The tolerance in float64, relative to that in float32. A gradient is known from differences, and thus less exactly
FLOAT64_FACTOR, FLOAT64_GRADIENT_FACTOR = 1e-3, 1e-1
FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class FrameworkResult:
    """The results of one framework.

    settings: the values that hold there, chosen or documented; refusal: what it raised, or ""; comparison: with what
    it documents, the first result that is wrong, or else the one with the largest error; note: about float64.
    """

    framework: str
    settings: Mapping[str, Value]
    results: Arrays
    refusal: str = ""
    comparison: ArrayComparison | None = None
    note: str = ""

    @property
    def is_wrong(self) -> bool:
        """Return whether the framework does not compute what it documents."""
        return self.comparison is not None and self.comparison.verdict == "diverges"

    @property
    def error_ratio(self) -> float:
        """The largest error in units of its tolerance."""
        return self.comparison.error_ratio if self.comparison else 0.0


@dataclass(frozen=True)
class Finding:
    """The verdict on an operator with the chosen settings, and its reason in one sentence."""

    operator: str
    chosen: Mapping[str, Value]
    verdict: OperatorVerdict
    reason: str
    frameworks: tuple[FrameworkResult, ...]

    @property
    def culprits(self) -> tuple[str, ...]:
        """The frameworks that do not compute what they document."""
        return tuple(result.framework for result in self.frameworks if result.is_wrong)


def examine(operator: Operator, chosen: Mapping[str, Value], workers: Mapping[str, Worker]) -> Finding:
    """Compute an operator in every framework, forward and backward, and judge the results.

    Raises ReproError for settings for which the operator is not defined.
    """
    inputs = operator.make_inputs(chosen)
    documented = {framework: operator.documented(framework, chosen) for framework in workers}
    definitions = {describe(settings): define(operator, inputs, settings) for settings in documented.values()}

    def define_settings(settings: Mapping[str, Value]) -> Definition:
        key = describe(settings)
        if key not in definitions:  # no framework is compared with it: it needs no tolerances
            definitions[key] = define(operator, inputs, settings, perturbations=0)
        return definitions[key]

    results = []
    for framework, worker in workers.items():
        settings = documented[framework]
        script = worker_script(operator, framework, chosen)
        right = define_settings(settings)
        refusal, computed = worker.request("run_script", inputs, script=script)
        result = FrameworkResult(framework, settings, computed, refusal or "")
        if not refusal:
            doubled = {name: _to_float64(array) for name, array in inputs.items()}
            result = _judge(result, worker.request("run_script", doubled, script=script)[1], right)
        results.append(result)
    verdict, reason = _conclude(results, define_settings)
    return Finding(operator.name, chosen, verdict, reason, tuple(results))


def _to_float64(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64) if array.dtype == np.float32 else array


def _judge(result: FrameworkResult, float64_results: Arrays, right: Definition) -> FrameworkResult:
    """The result with the comparison that stands for it."""
    comparisons = list(_compare(result.results, right, float64=False))
    for verdict in ("diverges", "unanswerable"):
        for comparison in comparisons:
            if comparison.verdict == verdict:
                return replace(result, comparison=comparison)
    largest = max(comparisons, key=lambda comparison: comparison.error_ratio)
    if not float64_results:
        return replace(result, comparison=largest, note="not in float64")
    inexact = [c for c in _compare(float64_results, right, float64=True) if c.verdict == "diverges"]
    note = f"in float64 it is no more exact than in float32 ({inexact[0].where})" if inexact else ""
    return replace(result, comparison=largest, note=note)


def _compare(computed: Arrays, right: Definition, *, float64: bool) -> Iterator[ArrayComparison]:
    """Compare each result with the right one. A missing gradient is 0."""
    for name in right.low:
        low, high, tolerance = right.low[name], right.high[name], right.tolerances[name]
        actual = computed.get(name, np.zeros(low.shape)).astype(np.float64)
        if float64:
            tolerance *= FLOAT64_GRADIENT_FACTOR if name.startswith(GRADIENT) else FLOAT64_FACTOR
        else:  # what is right may be too large for float32
            low, high = (np.where(np.abs(end) > FLOAT32_MAX, np.copysign(np.inf, end), end) for end in (low, high))
        reference = low
        if actual.shape == low.shape:
            if name.startswith(GRADIENT):  # known only where it is finite
                actual, low, high = (np.where(np.isfinite(low), array, 0.0) for array in (actual, low, high))
            reference = np.where(np.isfinite(actual), np.clip(actual, low, high), low)
            same = ~np.isfinite(low) & ((np.isnan(actual) & np.isnan(low)) | (actual == low))
            actual, reference = np.where(same, 0.0, actual), np.where(same, 0.0, reference)
            if (special := ~np.isfinite(actual) | ~np.isfinite(reference)).any():
                index = _first(special)
                reason = f"{actual[index]:.6g} instead of {reference[index]:.6g} at {list(index)}"
                yield ArrayComparison("diverges", name, None, tolerance, reason)
                continue
        ceiling = right.ceilings[name]
        yield compare_arrays(name, actual, reference, tolerance=tolerance, dtype=np.float64, ceiling=ceiling)


def _conclude(results: Sequence[FrameworkResult], define_settings: DefineSettings) -> tuple[OperatorVerdict, str]:
    """The verdict and its reason."""
    if wrong := [result for result in results if result.is_wrong]:
        return "bug", "; ".join(f"{r.framework} does not compute what it documents: {_place(r)}" for r in wrong)
    if refused := [result for result in results if result.refusal]:
        reason = "; ".join(f"{result.framework} raises {result.refusal}" for result in refused)
        others = [result for result in results if not result.refusal]
        if len(others) > 1:
            reason += f"; the others: {': '.join(_conclude(others, define_settings))}"
        return "refused", reason
    differences = [_documented_difference(results[0], other, define_settings) for other in results[1:]]
    if any(differences):
        return "convention", "; ".join(filter(None, differences))
    return _conclude_same(results, define_settings(results[0].settings))


def _conclude_same(results: Sequence[FrameworkResult], right: Definition) -> tuple[OperatorVerdict, str]:
    """The verdict on frameworks that document the same."""
    for result in results:
        if result.comparison and result.comparison.verdict == "unanswerable":
            return "unanswerable", f"{result.framework}: {_place(result)}"
    if choice := _choice_at_kink(results, right):
        return "convention", choice
    if all(_same_bits(results[0].results, other.results) for other in results[1:]):
        return "equal", "the same bits in all frameworks" if len(results) > 1 else "as documented"
    worst = max(results, key=lambda result: result.error_ratio)
    return "rounding", f"the largest error is that of {worst.framework}: {_place(worst)}"


def _place(result: FrameworkResult) -> str:
    """The place of the comparison, and what it shows."""
    assert result.comparison
    return f"{result.comparison.where}: {result.comparison.reason}"


def _documented_difference(first: FrameworkResult, other: FrameworkResult, define_settings: DefineSettings) -> str:
    """How two documentations differ, or "" if what they describe is the same for these inputs.

    The settings that are named are the fewest whose values, if the other had them, too, would make both the same.
    """
    expected = define_settings(first.settings)
    names = [name for name, value in first.settings.items() if other.settings[name] != value]
    for count in range(len(names) + 1):
        for subset in combinations(names, count):
            if _agree(expected, define_settings({**other.settings, **{name: first.settings[name] for name in subset}})):
                return " and ".join(
                    f"{name} is {to_text(first.settings[name])} in {first.framework} and "
                    f"{to_text(other.settings[name])} in {other.framework}"
                    for name in subset
                )
    raise AssertionError("equal settings give equal definitions")


def _agree(first: Definition, second: Definition) -> bool:
    """Return whether two definitions are the same, up to rounding in float64."""
    for name, low in first.low.items():
        other = second.low.get(name)
        if other is None or low.shape != other.shape:
            return False
        finite = np.isfinite(low) & np.isfinite(other)
        is_gradient = name.startswith(GRADIENT)
        if not is_gradient and not np.array_equal(low[~finite], other[~finite], equal_nan=True):
            return False
        tolerance = first.tolerances[name] * (FLOAT64_GRADIENT_FACTOR if is_gradient else FLOAT64_FACTOR)
        if (np.abs(low[finite] - other[finite]) > tolerance).any():
            return False
    return True


def _choice_at_kink(results: Sequence[FrameworkResult], right: Definition) -> str:
    """How the frameworks chose among the right gradients at a kink; "" if there is none, or all chose the same."""
    for name, low in right.low.items():
        values = np.stack([result.results.get(name, np.zeros(low.shape)) for result in results])
        with np.errstate(invalid="ignore"):  # where all are infinite
            differing = (right.high[name] > low) & (np.ptp(values, axis=0) > right.tolerances[name])
        if differing.any():
            index = _first(differing)
            choices = ", ".join(
                f"{value[index]:.6g} in {result.framework}" for value, result in zip(values, results, strict=True)
            )
            limits = f"{low[index] + 0:.6g} to {right.high[name][index] + 0:.6g}"  # + 0: no -0
            return f"{name} at {list(index)}, a kink, where anything from {limits} is right: {choices}"
    return ""


def _same_bits(first: Arrays, second: Arrays) -> bool:
    return first.keys() == second.keys() and all(
        np.array_equal(array, second[name], equal_nan=array.dtype.kind == "f") for name, array in first.items()
    )


def _first(mask: np.ndarray) -> tuple[int, ...]:
    """The first index at which a mask is true."""
    return tuple(int(i) for i in np.argwhere(mask)[0])
