"""Compares the backends: `python -m repro.parity --models asymmnet_large`."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING

from repro.cli import run_command
from repro.errors import ReproError

if TYPE_CHECKING:
    from repro.parity.record import Record
    from repro.workers import Worker


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="repro.parity",
        description="Compare the backends on shared weights and inputs. Exits with 1 if anything diverges.",
    )
    parser.add_argument("--models", default="all", help="names joined by commas, or all (default)")
    parser.add_argument("--rungs", default="0,1", help="rungs of the ladder joined by commas (default: 0,1)")
    parser.add_argument("--backends", help="backends joined by commas, all of which must start (default: all that do)")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="so many weights and inputs (default: 1)")
    parser.add_argument("--json", metavar="FILE", help="write the records to FILE as a JSON list")
    arguments = parser.parse_args(argv)

    from repro.files import write_text
    from repro.parity.ladder import RUNGS, climb
    from repro.specs import CATALOGUE

    models = _chosen("model", arguments.models, list(CATALOGUE))
    rungs = [int(rung) for rung in _chosen("rung", arguments.rungs, [str(rung) for rung in RUNGS])]
    records: list[Record] = []
    with ExitStack() as stack:
        workers = _start(arguments.backends, stack)
        print(", ".join(f"{name} {worker.version}" for name, worker in workers.items()))
        print("a number is the largest error in units of the rounding allowed at that stage\n")
        print(f"{'model':32} {'rung':12}" + "".join(f" {name:15}" for name in workers))
        for model, seed in itertools.product(models, range(arguments.seeds)):
            found = list(climb(model, rungs, workers, seed))
            records += found
            for rung in rungs:
                cells = [_cell(record) for record in found if record.rung == rung]
                print(
                    f"{model:32} {f'{rung} {RUNGS[rung][0]}':12}" + "".join(f" {cell:15}" for cell in cells), flush=True
                )
    failures = [record for record in records if record.verdict == "diverges"]
    for record in failures:
        print(record.sentence)
    print(f"\n{len(records)} comparisons, {len(failures)} diverge")
    if arguments.json:
        write_text(arguments.json, json.dumps([asdict(record) for record in records], indent=1) + "\n")
    return 1 if failures else 0


def _chosen(thing: str, text: str, known: list[str]) -> list[str]:
    from repro.errors import unknown

    names = known if text == "all" else [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise unknown(thing, name, known)
    if not names:
        raise ReproError(f"no {thing} was named")
    return names


def _start(wanted: str | None, stack: ExitStack) -> dict[str, Worker]:
    """A worker for each backend that is asked for, or for each that starts; says loudly which do not."""
    from repro.discovery import backend_names
    from repro.workers import Worker, WorkerError

    workers: dict[str, Worker] = {}
    for name in _chosen("backend", wanted or "all", backend_names()):
        try:
            workers[name] = stack.enter_context(Worker(name))
        except WorkerError as error:
            if wanted:
                raise
            print(f"NOT COMPARED: {error}", file=sys.stderr)
    if not workers:
        raise ReproError("no backend could be started; install one with: pip install 'repro[torch]'")
    return workers


def _cell(record: Record) -> str:
    if record.verdict != "rounding" or record.max_error is None:
        return record.verdict
    return f"rounding {record.max_error / record.tolerance:.2f}"


if __name__ == "__main__":
    run_command(main)
