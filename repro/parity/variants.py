"""The comparison of variants of the catalogue: starts workers, and computes what earlier runs have not stored."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import islice

from repro.errors import ReproError
from repro.interface.discovery import backend_names
from repro.parity.cache import RecordCache
from repro.parity.console import ProgressBar, VerdictTable, estimate_cost
from repro.parity.ladder import run_rungs
from repro.parity.modes import MODES, columns_on
from repro.parity.record import Record
from repro.workers.client import Worker, WorkerError


def start_workers(
    backends: Sequence[str] | None, stack: ExitStack, modes: Sequence[str] = ()
) -> dict[str, Worker]:  # fmt: skip
    """Start a worker for each backend and each mode, and close it with the stack.

    backends: names that must start, or None for all backends that do; a warning names the others, and the modes that
    do not start.

    Raises ReproError if no backend could be started.
    """
    workers: dict[str, Worker] = {}
    for name in backends or backend_names():
        try:
            # the first backend is the reference and computes most: the others would wait for it at the end
            workers[name] = stack.enter_context(Worker(name, niceness=10 if workers else 0))
        except WorkerError as error:
            if backends:
                raise
            print(f"NOT COMPARED: {error}", file=sys.stderr)
    for name in modes:
        mode = MODES[name]
        try:
            workers[name] = stack.enter_context(Worker(mode.backend, label=name, niceness=10, mode=mode.request))
        except WorkerError as error:
            print(f"NOT COMPARED: {error}", file=sys.stderr)
    if not workers:
        raise ReproError("no backend could be started; install one with: pip install -e '.[torch]' in repro's folder")
    return workers


def compare_variants(
    models: Sequence[str],
    rungs: Sequence[int],
    seeds: int,
    workers: Mapping[str, Worker],
    cache: RecordCache,
    table: VerdictTable,
) -> tuple[list[Record], int]:
    """Return all records, and the number of those that are from earlier runs.

    Prints the line of each variant in the table as soon as it is complete.
    """
    cells = [(model, seed, rung) for model in models for seed in range(seeds) for rung in rungs]
    records = {(model, seed, rung): cache.load(model, rung, seed) for model, seed, rung in cells}
    cached = sum(map(len, records.values()))
    costs = {(model, seed, rung): estimate_cost(model, rung) for model, seed, rung in cells
             if not records[model, seed, rung]}  # fmt: skip
    with ProgressBar(len(models), sum(costs.values())) as progress:
        for done, model in enumerate(models):
            progress.begin_variant(done, model)
            for seed in range(seeds):
                missing = [rung for rung in rungs if (model, seed, rung) in costs]
                new_records = run_rungs(model, missing, workers, seed) if missing else iter(())
                for rung in missing:
                    records[model, seed, rung] = list(islice(new_records, len(columns_on(rung, workers))))
                    cache.store(records[model, seed, rung], seed)
                    progress.update(costs[model, seed, rung])
            line = table.line(model, [record for cell in cells if cell[0] == model for record in records[cell]])
            progress.write(line, file=sys.stdout)
            sys.stdout.flush()
    return [record for cell in cells for record in records[cell]], cached
