"""The rungs, and the climb."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from repro.parity.forward import evaluation, structure, training_mode
from repro.parity.judge import Arrays, Workers
from repro.parity.record import Record
from repro.parity.training import gradients, losses, optimizers, outcome, trajectory
from repro.specs import Spec, find_spec
from repro.weights.init import random_weights
from repro.workers.client import LARGE, WorkerError, ask

# Weights of networks that begin in new processes: MindSpore keeps all the memory that it ever had, in pieces that do
# not fit the next network; with EfficientNetV2-L as the 83rd that was 14 GB
ANEW = 50_000_000
MOST = 6  # from this rung on, each takes so much memory that the largest begin in new processes once more

Rung = Callable[[Spec, Workers, Arrays, int], Iterator[Record]]
RUNGS: dict[int, tuple[str, Rung]] = {
    0: ("structure", structure),
    1: ("eval", evaluation),
    2: ("train", training_mode),
    3: ("loss", losses),
    4: ("gradients", gradients),
    5: ("optimizer", optimizers),
    6: ("trajectory", trajectory),
    7: ("outcome", outcome),
}


def climb(model: str, rungs: list[int], workers: Workers, seed: int = 0) -> Iterator[Record]:
    """The records of one variant, rung by rung, on scrambled weights that all workers share. seed: of weights, inputs
    and what is left out at random. A backend that fails diverges, and the others are compared without it; one that died
    before starts again, and before large networks all do."""
    spec = find_spec(model)
    weights = random_weights(spec, seed)
    unmade: dict[str, WorkerError] = {}

    def begin() -> None:
        for worker in workers.values():
            if spec.params > ANEW:
                worker.close()
            worker.revive((os.cpu_count() or 1) if spec.params > LARGE else 1)  # large ones compute one at a time
        _without_failures(lambda left: ask(left, "create", weights, name=model, options={}, seed=seed), workers, unmade)

    begin()
    for rung in sorted(rungs):
        if rung >= MOST and rung != min(rungs) and spec.params > LARGE:
            begin()
        failed = dict(unmade)
        records = _without_failures(partial(_records, rung, spec, weights, seed), workers, failed)
        for backend in workers:
            if backend in failed:
                yield Record(model, rung, backend, "", "diverges", None, 0.0, "", str(failed[backend]))
            else:
                yield records[backend]


def _records(rung: int, spec: Spec, weights: Arrays, seed: int, workers: Workers) -> dict[str, Record]:
    return {record.backend: record for record in RUNGS[rung][1](spec, workers, weights, seed)}


def _without_failures(do: Callable[[Workers], Any], workers: Workers, failed: dict[str, WorkerError]) -> Any:
    """What `do` returns for the workers that have not failed, to which it adds those that do."""
    while left := {backend: worker for backend, worker in workers.items() if backend not in failed}:
        try:
            return do(left)
        except WorkerError as error:
            if error.backend not in left:
                raise
            failed[error.backend] = error
    return None
