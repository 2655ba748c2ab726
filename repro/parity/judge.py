"""Verdicts: a computation is run on every backend, and the results are compared with a float64 reference.

The first backend that computes in float64 is the reference. Its float32 runs, one of them as it is and others with the
last bits of the inputs changed, distinguish rounding from errors. Whatever diverges is computed again with the results
of every module, so that the first module that diverges is named.

A network with ReLUs is not smooth: a value within rounding of the kink falls to either side of it, and changes
gradients by far more than rounding. With other inputs it is another value, or none. So whatever diverges is tried
again on other inputs, and only what diverges every time is an error. Where few elements of a gradient diverge, and no
element does so every time, they are such values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from repro.arrays import Arrays
from repro.interface.module_outputs import GRADIENT_PREFIX, INPUT_PREFIX, RUNNING_STATISTICS
from repro.parity.attempt import Attempt, BackendQueues, Computation, Workers
from repro.parity.causes.hints import explain_error
from repro.parity.comparison import AGREEMENT, ArrayComparison, most_critical
from repro.parity.record import ProfilePoint, Record
from repro.specs import Spec
from repro.workers.client import LARGE_MODEL_PARAMS

ATTEMPTS = 3
EMA_PREFIX = "EMA of "
LARGE_ERROR = 1000  # in units of the tolerance: 2 % of a value, for example, where 2e-5 of it is rounding


def judge(
    spec: Spec, rung: int, workers: Workers, computations: list[Computation], weights: Arrays
) -> Iterator[Record]:
    """Yield a record for each backend, which covers all computations of the rung.

    weights: the initial weights, which help to explain errors after training.

    Raises ReproError where no backend computes in float64.
    """
    criticals: dict[str, list[ArrayComparison]] = {backend: [] for backend in workers}
    profiles: dict[str, list[ProfilePoint]] = {backend: [] for backend in workers}
    reference = ""
    is_large = sum(array.size for array in weights.values()) > LARGE_MODEL_PARAMS
    with BackendQueues(workers, parallel=1 if is_large else len(workers)) as queues:
        for computation, attempt in zip(computations, queues.first_attempts(computations, weights), strict=True):
            reference, comparisons_of = _compare_with_retries(computation, workers, queues, attempt, weights)
            for backend, comparisons in comparisons_of.items():
                if not comparisons:  # a mode that cannot compute with these inputs
                    continue
                critical = most_critical(comparisons)
                if critical.verdict == "diverges":
                    pair = {name: worker for name, worker in workers.items() if name in {reference, backend}}
                    detailed = Attempt(computation, pair, queues, ATTEMPTS - 1, weights, every_module=True)
                    critical = _first_divergence(detailed, backend, spec, weights) or critical
                suffix = f" ({computation.name})" if computation.name else ""
                criticals[backend].append(replace(critical, where=critical.where + suffix))
                profiles[backend] += [
                    (c.where + suffix, c.max_error and float(f"{c.max_error:.3g}"), float(f"{c.tolerance:.3g}"))
                    for c in comparisons
                    if not c.where.startswith(INPUT_PREFIX)
                ]
    for backend in workers:
        yield Record.from_comparison(
            spec.name, rung, backend, f"{reference} float64", most_critical(criticals[backend]), profiles[backend]
        )


def run_all_attempts(workers: Workers, computations: Iterable[Computation]) -> None:
    """Compute everything that `judge` may request from one of several workers."""
    attempts = [(number, False) for number in range(ATTEMPTS)] + [(ATTEMPTS - 1, True)]
    with BackendQueues(workers, parallel=1) as queues:
        for computation in computations:
            for number, every_module in attempts:
                Attempt(computation, workers, queues, number, {}, every_module=every_module)


def _compare_with_retries(
    computation: Computation, workers: Workers, queues: BackendQueues, first_attempt: Attempt, weights: Arrays
) -> tuple[str, dict[str, list[ArrayComparison]]]:
    """Return the reference, and the comparisons of each backend.

    Backends that do not agree are tried again, ATTEMPTS times at most. An array that agrees on any attempt is
    represented by that attempt.
    """
    history: dict[str, list[list[ArrayComparison]]] = {backend: [] for backend in workers}
    suspects, attempt = set(workers), first_attempt
    for number in range(ATTEMPTS):
        if number:
            chosen = {name: worker for name, worker in workers.items() if name in suspects | {attempt.reference}}
            attempt = Attempt(computation, chosen, queues, number, weights, every_module=False)
        for backend in suspects:
            history[backend].append(attempt.comparisons(backend))
        suspects = {
            backend
            for backend in suspects
            if any(comparison.verdict not in AGREEMENT for comparison in _clearest(computation, history[backend]))
        }
        if not suspects:
            break
    return attempt.reference, {backend: _clearest(computation, attempts) for backend, attempts in history.items()}


def _clearest(computation: Computation, attempts: Sequence[Sequence[ArrayComparison]]) -> list[ArrayComparison]:
    """The comparison of each array, among those of all attempts, that is the best evidence about the backend."""
    clearest = []
    for tries in zip(*attempts, strict=True):
        comparison = max(tries, key=_clearness)
        if computation.compares_modules:  # whose values are continuous, so that a large error is one on any input
            comparison = next((other for other in tries if _is_large_error(other)), comparison)
        if comparison.verdict == "diverges" and computation.has_kinks and len(tries) == ATTEMPTS:
            exceeding = [other.exceeding for other in tries if other.exceeding is not None]
            if len(exceeding) == len(tries) and not frozenset.intersection(*exceeding):
                reason = f"{comparison.reason}, but other elements on other inputs: values on a kink"
                error = comparison.tolerance
                comparison = replace(comparison, verdict="rounding", max_error=error, reason=reason, exceeding=None)
        clearest.append(comparison)
    return clearest


def _is_large_error(comparison: ArrayComparison) -> bool:
    """Return whether a value in float32 is off by far more than rounding, such as one that a limit has changed."""
    is_number = comparison.verdict == "diverges" and comparison.max_error is not None
    return is_number and not comparison.where.endswith("float64") and comparison.error_ratio > LARGE_ERROR


def _clearness(comparison: ArrayComparison) -> int:
    """The rank of a comparison as evidence: agreement, then divergence, then no answer."""
    return 2 if comparison.verdict in AGREEMENT else 1 if comparison.verdict == "diverges" else 0


def _first_divergence(attempt: Attempt, backend: str, spec: Spec, weights: Arrays) -> ArrayComparison | None:
    """The first comparison that diverges, with a description of its place and its error; None if there is none."""
    names = attempt.names(backend)
    for index, comparison in enumerate(attempt.comparisons(backend)):
        if comparison.verdict == "diverges":
            name = names[index]
            weight = name.rpartition(": ")[2].removeprefix(EMA_PREFIX)
            is_float32 = comparison.where == name
            results = (attempt.float32_results if is_float32 else attempt.float64_results)[backend]
            explanation = ""
            if name in results:
                explanation = explain_error(
                    results[name],
                    attempt.exact[name],
                    tolerance=comparison.tolerance,
                    initial=weights.get(weight),
                    momentum=spec.norm_momentum,
                    statistic=next((statistic for statistic in RUNNING_STATISTICS if weight.endswith(statistic)), ""),
                )
            where = describe_place(names, index) + comparison.where.removeprefix(name)
            reason = f"{comparison.reason} ({explanation})" if explanation else comparison.reason
            return replace(comparison, where=where, reason=reason)
    return None


def describe_place(names: list[str], index: int) -> str:
    """Describe where the array `names[index]` is computed. The names are in the order of computation.

    If all modules inside a module are right, the error is in what the module itself does after the last of them, which
    is named, too. The error of a gradient may be between its place and that of the gradient before, which is right.
    """
    name = names[index]
    if name.startswith(GRADIENT_PREFIX):
        return f"{name} (after that of {names[index - 1].removeprefix(GRADIENT_PREFIX)})" if index else name
    is_output = not name.startswith(INPUT_PREFIX)
    if is_output and not any(other.startswith(f"{name}.") for other in names[:index]):
        return name
    outputs = [other for other in names[:index] if not other.startswith(INPUT_PREFIX)]
    previous = next((other for other in reversed(outputs) if not other.endswith(RUNNING_STATISTICS)), "")
    return f"{name} (after {previous})" if previous else name
