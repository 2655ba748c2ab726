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

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import BoundedSemaphore
from typing import Protocol

import numpy as np

from repro.arrays import Arrays
from repro.errors import ReproError
from repro.interface.module_outputs import GRADIENT_PREFIX, INPUT_PREFIX, RUNNING_STATISTICS
from repro.parity.causes.hints import explain_error
from repro.parity.comparison import AGREEMENT, ArrayComparison, compare_arrays, most_critical
from repro.parity.modes import MODES, precision_of
from repro.parity.record import ProfilePoint, Record
from repro.parity.tolerance import (
    CEILING,
    PRECISION_ERROR_FACTOR,
    cancelled_rounding,
    measure_ceilings,
    measure_tolerances,
    perturb_last_bits,
    round_to,
)
from repro.parity.user_models.constants import settle_precisions
from repro.parity.user_models.cuts import accept_other_cuts
from repro.specs import Spec
from repro.workers.client import LARGE_MODEL_PARAMS, Worker

Workers = Mapping[str, Worker]

ATTEMPTS = 3
EMA_PREFIX = "EMA of "
LARGE_ERROR = 1000  # in units of the tolerance: 2 % of a value, for example, where 2e-5 of it is rounding


class Compute(Protocol):
    """The function of a computation."""

    def __call__(self, workers: Workers, inputs: Arrays, /, *, float64: bool, every_module: bool) -> dict[str, Arrays]:
        """Return the arrays of each backend in the order of computation.

        A backend that cannot compute in float64 is left out of a float64 run.
        """
        ...


@dataclass(frozen=True)
class Computation:
    """A computation that is compared between backends.

    name: its name in the report, where a rung has several computations; make_inputs: the inputs of an attempt,
    numbered from 0; perturbed_input: the name of the input whose last bits are changed; float64_factor: the tolerance
    between frameworks in float64, relative to that of float32; perturbations: number of float32 runs with changed
    last bits; ceiling: the largest error that counts as rounding, relative to the array (RMS); compares_modules: the
    input and output of every module are compared, and modules may be cut elsewhere; constant_share: the largest error
    in float64 that counts as a constant of a framework, relative to the array; has_kinks: the results are gradients.
    """

    name: str
    make_inputs: Callable[[int], Arrays]
    perturbed_input: str
    compute: Compute
    float64_factor: float
    perturbations: int = 3
    ceiling: float = math.inf
    compares_modules: bool = False
    constant_share: float = 0.0
    has_kinks: bool = False


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
    with _BackendQueues(workers, parallel=1 if is_large else len(workers)) as queues:
        for computation, attempt in zip(computations, queues.first_attempts(computations, weights), strict=True):
            reference, comparisons_of = _compare_with_retries(computation, workers, queues, attempt, weights)
            for backend, comparisons in comparisons_of.items():
                if not comparisons:  # a mode that cannot compute with these inputs
                    continue
                critical = most_critical(comparisons)
                if critical.verdict == "diverges":
                    pair = {name: worker for name, worker in workers.items() if name in {reference, backend}}
                    detailed = _Attempt(computation, pair, queues, ATTEMPTS - 1, weights, every_module=True)
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
    with _BackendQueues(workers, parallel=1) as queues:
        for computation in computations:
            for number, every_module in attempts:
                _Attempt(computation, workers, queues, number, {}, every_module=every_module)


class _BackendQueues:
    """A queue of requests for each backend, so that a fast backend does not wait for a slow one."""

    def __init__(self, workers: Workers, *, parallel: int):
        """parallel: the number of backends that may compute at the same time."""
        self.workers = workers
        self.parallel = BoundedSemaphore(parallel)
        self.queues = {backend: ThreadPoolExecutor(1) for backend in workers}
        self.attempts = ThreadPoolExecutor(2)

    def submit(
        self, computation: Computation, backend: str, inputs: Arrays, *, float64: bool, every_module: bool
    ) -> Future[dict[str, Arrays]]:
        """Queue a computation of one backend; its result has that backend's name as the only key, or none."""

        def compute() -> dict[str, Arrays]:
            with self.parallel:
                modules = every_module or computation.compares_modules
                workers = {backend: self.workers[backend]}
                return computation.compute(workers, inputs, float64=float64, every_module=modules)

        return self.queues[backend].submit(compute)

    def first_attempts(self, computations: list[Computation], weights: Arrays) -> Iterator[_Attempt]:
        """The first attempt of each computation. While one is being compared, the next is being computed."""
        return self.attempts.map(
            lambda computation: _Attempt(computation, self.workers, self, 0, weights, every_module=False),
            computations,
        )

    def __enter__(self) -> _BackendQueues:
        return self

    def __exit__(self, *_: object) -> None:
        for executor in (self.attempts, *self.queues.values()):
            executor.shutdown(cancel_futures=True)


class _Attempt:
    """The results of all backends for the inputs of one attempt, and the tolerance of each array."""

    def __init__(
        self, computation: Computation, workers: Workers, queues: _BackendQueues, number: int, weights: Arrays, *,
        every_module: bool,
    ):  # fmt: skip
        inputs = computation.make_inputs(number)
        perturbed_input = inputs[computation.perturbed_input]
        perturbed = [
            inputs | {computation.perturbed_input: perturb_last_bits(perturbed_input, seed)}
            for seed in range(computation.perturbations)
        ]

        def submit(backend: str, inputs: Arrays, *, float64: bool) -> Future[dict[str, Arrays]]:
            return queues.submit(computation, backend, inputs, float64=float64, every_module=every_module)

        float64_runs = {backend: submit(backend, inputs, float64=True) for backend in workers}
        float32_runs = {backend: submit(backend, inputs, float64=False) for backend in workers}
        self.reference = next((backend for backend in workers if float64_runs[backend].result()), "")
        if not self.reference:
            raise ReproError("no float64 reference available: add torch or paddle")
        perturbed_runs = [submit(self.reference, other, float64=False) for other in perturbed]
        precisions = {precision_of(backend) for backend in workers} - {"float32"}
        rounded_runs = {
            precision: [
                submit(self.reference, _rounded_inputs(inputs, computation, weights, precision, seed), float64=False)
                for seed in range(computation.perturbations)
            ]
            for precision in precisions
        }
        self.computation = computation
        self.float64_results = _merge(float64_runs.values())
        self.float32_results = _merge(float32_runs.values())
        self.exact = self.float64_results[self.reference]
        reference_runs = [
            self.float32_results[self.reference],
            *(run.result()[self.reference] for run in perturbed_runs),
        ]
        self.tolerances = {"float32": measure_tolerances(reference_runs, self.exact)}
        self.ceilings = {"float32": measure_ceilings(self.exact, computation.ceiling)}
        for precision, runs in rounded_runs.items():
            results = [run.result()[self.reference] for run in runs]
            floors = cancelled_rounding(precision, self.exact)
            measured = measure_tolerances(results, self.exact, PRECISION_ERROR_FACTOR)
            self.tolerances[precision] = {name: max(limit, floors[name]) for name, limit in measured.items()}
            ceilings = measure_ceilings(self.exact, CEILING)
            self.ceilings[precision] = {name: max(limit, floors[name]) for name, limit in ceilings.items()}

    def comparisons(self, backend: str) -> list[ArrayComparison]:
        """A comparison of each array of the reference, in the order of computation."""
        float32 = self._compare(backend, self.float32_results, np.float32, 1.0)
        if backend not in self.float64_results or backend == self.reference:
            return float32
        float64 = self._compare(backend, self.float64_results, np.float64, self.computation.float64_factor)
        if self.computation.constant_share:
            return settle_precisions(self.exact, float32, float64, self.computation.constant_share)
        return [most_critical(pair) for pair in zip(float32, float64, strict=True)]

    def names(self, backend: str) -> list[str]:
        """The arrays of the reference that are compared; for a mode, those that it shows."""
        return [name for name in self.exact if backend not in MODES or name in self.float32_results.get(backend, {})]

    def _compare(
        self, backend: str, results_of: Mapping[str, Arrays], dtype: type, factor: float
    ) -> list[ArrayComparison]:
        """The comparisons of one of the backend's runs. factor: multiplies the tolerances."""
        results = results_of.get(backend, {})
        tolerances, ceilings = (limits[precision_of(backend)] for limits in (self.tolerances, self.ceilings))
        comparisons = [
            _compare_result(name, results, self.exact[name], factor * tolerances[name], ceilings[name], dtype)
            for name in self.names(backend)
        ]
        return accept_other_cuts(self.exact, results, comparisons) if self.computation.compares_modules else comparisons


def _rounded_inputs(
    inputs: Arrays, computation: Computation, weights: Arrays, precision: str, seed: int
) -> Arrays:  # fmt: skip
    """The inputs with weights of convolutions and matrix products, all rounded to a precision, up or down by chance."""
    name = computation.perturbed_input
    changed = {f"weights/{weight}": array for weight, array in weights.items() if array.ndim > 1}
    changed[name] = inputs[name]
    rng = np.random.default_rng(seed)
    return inputs | {key: round_to(precision, array, rng) for key, array in changed.items()}


def _merge(futures: Iterable[Future[dict[str, Arrays]]]) -> dict[str, Arrays]:
    return {backend: arrays for future in futures for backend, arrays in future.result().items()}


def _compare_result(
    name: str, results: Arrays, exact: np.ndarray, tolerance: float, ceiling: float, dtype: type
) -> ArrayComparison:
    where = name if dtype is np.float32 else f"{name}, float64"
    if name not in results:
        return ArrayComparison("diverges", where, None, tolerance, "it is missing")
    return compare_arrays(where, results[name], exact, tolerance=tolerance, dtype=dtype, ceiling=ceiling)


def _compare_with_retries(
    computation: Computation, workers: Workers, queues: _BackendQueues, first_attempt: _Attempt, weights: Arrays
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
            attempt = _Attempt(computation, chosen, queues, number, weights, every_module=False)
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


def _first_divergence(attempt: _Attempt, backend: str, spec: Spec, weights: Arrays) -> ArrayComparison | None:
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
