"""One attempt of a computation: its runs on every backend, in float64, in float32 and with perturbed inputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import BoundedSemaphore
from typing import Protocol

import numpy as np

from repro.arrays import Arrays
from repro.errors import ReproError
from repro.parity.comparison import ArrayComparison, compare_arrays, most_critical
from repro.parity.modes import MODES, precision_of
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
from repro.workers.client import Worker

Workers = Mapping[str, Worker]


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


class BackendQueues:
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

    def first_attempts(self, computations: list[Computation], weights: Arrays) -> Iterator[Attempt]:
        """The first attempt of each computation. While one is being compared, the next is being computed."""
        return self.attempts.map(
            lambda computation: Attempt(computation, self.workers, self, 0, weights, every_module=False),
            computations,
        )

    def __enter__(self) -> BackendQueues:
        return self

    def __exit__(self, *_: object) -> None:
        for executor in (self.attempts, *self.queues.values()):
            executor.shutdown(cancel_futures=True)


class Attempt:
    """The results of all backends for the inputs of one attempt, and the tolerance of each array."""

    def __init__(
        self, computation: Computation, workers: Workers, queues: BackendQueues, number: int, weights: Arrays, *,
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
