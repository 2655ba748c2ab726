"""Compares the backends: `python -m repro.parity --models asymmnet_large`."""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import ExitStack
from itertools import islice
from typing import TYPE_CHECKING

from repro.cli import command_name, run_command
from repro.errors import ReproError
from repro.parity import user_command

if TYPE_CHECKING:
    from repro.parity.cache import Cache
    from repro.parity.record import Record
    from repro.workers.client import Worker


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog=command_name("parity"),
        description="Compare the backends on shared weights and inputs. Exits with 1 if anything diverges.",
    )
    parser.add_argument(
        "--models",
        default="all",
        help="names joined by commas, all (default), or smallest: the variant of each family with the fewest MACs",
    )
    parser.add_argument("--rungs", help="rungs of the ladder joined by commas, or all (default: 0,1)")
    parser.add_argument("--backends", help="backends joined by commas, all of which must start (default: all that do)")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="so many weights and inputs (default: 1)")
    parser.add_argument("--fresh", action="store_true", help="compute again what is kept from earlier runs")
    parser.add_argument("--json", metavar="FILE", help="write the records to FILE as a JSON list")
    parser.add_argument("--html", metavar="FILE", help="write a page to FILE that shows every verdict and where it is")
    user_command.add_flags(parser)
    arguments = parser.parse_args(argv)
    if user_command.asked(arguments):
        return user_command.run(arguments, sys.argv[1:] if argv is None else argv)

    from repro.parity.cache import Cache
    from repro.parity.ladder import RUNGS
    from repro.parity.summary import conclude, write
    from repro.specs import CATALOGUE, find_spec, smallest

    models = smallest() if arguments.models == "smallest" else _chosen("model", arguments.models, list(CATALOGUE))
    rungs = sorted(int(rung) for rung in set(_chosen("rung", arguments.rungs or "0,1", [str(rung) for rung in RUNGS])))
    if arguments.seeds < 1:
        raise ReproError(f"--seeds is {arguments.seeds}; give a number above 0")
    start = time.monotonic()
    with ExitStack() as stack:
        workers = _start(arguments.backends, stack)
        versions = {name: worker.version for name, worker in workers.items()}
        cache = Cache(versions, arguments.fresh)
        records, kept = _compare(models, rungs, arguments.seeds, workers, cache)
    summary = conclude(records, time.monotonic() - start, kept)
    if arguments.seeds > 1:
        print(_false_alarms(records, arguments.seeds))
    if cache.failure:
        print(f"results are not kept: {cache.failure}", file=sys.stderr)
    names = {number: name for number, (name, _) in RUNGS.items() if number in rungs}
    families = {model: find_spec(model).family for model in models}
    write(arguments, records, names, versions, families, summary, sys.argv[1:] if argv is None else argv)
    return int(any(record.diverges for record in records))


def _compare(
    models: list[str], rungs: list[int], seeds: int, workers: dict[str, Worker], cache: Cache
) -> tuple[list[Record], int]:
    """All records, and how many of them are from earlier runs. Prints a line for each variant as it is done."""
    from repro.parity.console import LEGEND, Matrix, Progress, cost
    from repro.parity.ladder import RUNGS, climb

    matrix = Matrix(models, {rung: RUNGS[rung][0] for rung in rungs}, list(workers))
    print(", ".join(f"{name} {worker.version}" for name, worker in workers.items()))
    print(f"{LEGEND}\n\n{matrix.heading}", flush=True)
    cells = [(model, seed, rung) for model in models for seed in range(seeds) for rung in rungs]
    found = {cell: cache.load(cell[0], cell[2], cell[1]) for cell in cells}
    kept = sum(map(len, found.values()))
    left = {cell: cost(cell[0], cell[2]) for cell in cells if not found[cell]}
    with Progress(len(models), sum(left.values())) as progress:
        for number, model in enumerate(models):
            progress.begin(number, model)
            for seed in range(seeds):
                missing = [rung for rung in rungs if (model, seed, rung) in left]
                climbing = climb(model, missing, workers, seed) if missing else iter(())
                for rung in missing:
                    found[model, seed, rung] = list(islice(climbing, len(workers)))
                    cache.keep(found[model, seed, rung], seed)
                    progress.update(left[model, seed, rung])
            own = [record for cell in cells if cell[0] == model for record in found[cell]]
            progress.write(matrix.line(model, own), file=sys.stdout)
            sys.stdout.flush()
    return [record for cell in cells for record in found[cell]], kept


def _false_alarms(records: list[Record], seeds: int) -> str:
    """What another seed is for: sound backends diverge by chance, or nearly."""
    count = sum(record.diverges for record in records)
    largest = max((record.share or 0.0 for record in records), default=0.0)
    return (
        f"false alarms: {count} in {seeds} seeds x {len(records) // seeds} comparisons, if the backends are sound; "
        f"the largest share of the rounding allowed was {largest:.2f}"
    )


def _chosen(thing: str, text: str, known: list[str]) -> list[str]:
    from repro.errors import unknown

    names = known if text == "all" else [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise unknown(thing, name, known)
    if not names:
        raise ReproError(f"no {thing} was named")
    return list(dict.fromkeys(names))


def _start(wanted: str | None, stack: ExitStack) -> dict[str, Worker]:
    """A worker for each backend that is asked for, or for each that starts; says loudly which do not."""
    from repro.interface.discovery import backend_names
    from repro.workers.client import Worker, WorkerError

    workers: dict[str, Worker] = {}
    for name in _chosen("backend", wanted or "all", backend_names()):
        try:
            # the first is the reference, which computes most: the others wait for it in the end
            workers[name] = stack.enter_context(Worker(name, niceness=10 if workers else 0))
        except WorkerError as error:
            if wanted:
                raise
            print(f"NOT COMPARED: {error}", file=sys.stderr)
    if not workers:
        raise ReproError("no backend could be started; install one with: pip install -e '.[torch]' in repro's folder")
    return workers


if __name__ == "__main__":
    run_command(main)
