"""The rungs of the ladder, and how one variant goes through them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

from repro.arrays import Arrays
from repro.parity.attempt import Workers
from repro.parity.exact_rung import compare_exactly
from repro.parity.forward_rungs import compare_evaluation, compare_structure, compare_training_mode
from repro.parity.modes import applies
from repro.parity.record import Record
from repro.parity.training_rungs import (
    compare_gradients,
    compare_losses,
    compare_optimizers,
    compare_outcomes,
    compare_trajectories,
)
from repro.specs import Spec, find_spec
from repro.weights.init import random_weights
from repro.workers.client import LARGE_MODEL_PARAMS, WorkerError, request_all

# A network with more parameters starts in new processes. MindSpore keeps all memory that it ever had, in pieces that
# do not fit the next network; with EfficientNetV2-L as the 83rd network that was 14 GB
RESTART_PARAMS = 50_000_000
# From this rung on, each rung needs much memory, so that the largest networks start in new processes once more
FIRST_LARGE_MEMORY_RUNG = 6

Result = TypeVar("Result")
Rung = Callable[[Spec, Workers, Arrays, int], Iterator[Record]]
RUNGS: dict[int, tuple[str, Rung]] = {
    0: ("structure", compare_structure),
    1: ("eval", compare_evaluation),
    2: ("train", compare_training_mode),
    3: ("loss", compare_losses),
    4: ("gradients", compare_gradients),
    5: ("optimizer", compare_optimizers),
    6: ("trajectory", compare_trajectories),
    7: ("outcome", compare_outcomes),
    8: ("exact", compare_exactly),
}


def run_rungs(model: str, rungs: list[int], workers: Workers, seed: int = 0) -> Iterator[Record]:
    """Yield the records of one variant, rung by rung, with a record of each backend and mode that a rung applies to.

    All workers get the same random weights. A backend that fails diverges on that rung, and the others are compared
    without it. seed: that of weights, inputs, dropout and drop path.
    """
    spec = find_spec(model)
    weights = random_weights(spec, seed)
    failed_to_build: dict[str, WorkerError] = {}

    def build_models() -> None:
        for worker in workers.values():
            if spec.params > RESTART_PARAMS:
                worker.close()
            # the largest networks are computed by one framework at a time, which may use all cores
            worker.ensure_running((os.cpu_count() or 1) if spec.params > LARGE_MODEL_PARAMS else 1)
        _collect_failures(
            lambda running: request_all(running, "create_model", weights, name=model, options={}, seed=seed),
            workers,
            failed_to_build,
        )

    build_models()
    for rung in sorted(rungs):
        if rung >= FIRST_LARGE_MEMORY_RUNG and rung != min(rungs) and spec.params > LARGE_MODEL_PARAMS:
            build_models()
        failed = dict(failed_to_build)
        compared = {column: worker for column, worker in workers.items() if applies(column, rung)}
        records = _collect_failures(partial(_run_rung, rung, spec, weights, seed), compared, failed)
        for backend in compared:
            if backend in failed:
                yield Record(model, rung, backend, "", "diverges", None, 0.0, "", str(failed[backend]))
            else:
                assert records is not None
                yield records[backend]


def _run_rung(rung: int, spec: Spec, weights: Arrays, seed: int, workers: Workers) -> dict[str, Record]:
    _, compare = RUNGS[rung]
    return {record.backend: record for record in compare(spec, workers, weights, seed)}


def _collect_failures(
    function: Callable[[Workers], Result], workers: Workers, failed: dict[str, WorkerError]
) -> Result | None:
    """The result of the function for all workers that do not fail. Adds those that fail to `failed`."""
    while running := {backend: worker for backend, worker in workers.items() if backend not in failed}:
        try:
            return function(running)
        except WorkerError as error:
            if error.backend not in running:
                raise
            failed[error.backend] = error
    return None
