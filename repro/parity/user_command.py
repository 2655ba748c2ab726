"""`python -m repro.parity --torch MODULE:FUNCTION --paddle MODULE:FUNCTION`: models that are not ours."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from repro.errors import ReproError
from repro.interface.discovery import SHIPPED

if TYPE_CHECKING:
    from repro.parity.record import Record

INPUT = "2,3,64,64"
RUNGS = {0: "mapping", 1: "eval", 2: "train", 4: "gradients"}
SOURCE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def add_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("models of your own", "two or three, instead of --models; rungs 0, 1, 2 and 4")
    for backend in SHIPPED:
        group.add_argument(f"--{backend}", metavar="MODULE:FUNCTION", help=f"a function that returns {backend}'s model")
    group.add_argument("--input", metavar="N,C,H,W", help=f"shape of the input (default: {INPUT})")
    group.add_argument("--mapping", type=Path, metavar="FILE", help="which weight is which: written, or read if there")


def asked(arguments: argparse.Namespace) -> bool:
    """Whether any of these flags was given."""
    return any(getattr(arguments, name) is not None for name in (*SHIPPED, "input", "mapping"))


def run(arguments: argparse.Namespace, argv: Sequence[str]) -> int:
    """Compares them, and returns the exit code. argv: the arguments as they were given, for the page."""
    given = {backend: source for backend in SHIPPED if (source := getattr(arguments, backend)) is not None}
    for backend, source in given.items():
        if not SOURCE.fullmatch(source):
            raise ReproError(f"--{backend} is {source!r}; give MODULE:FUNCTION, such as mymodel:build")
    if len(given) < 2:
        flags = ", ".join(f"--{backend}" for backend in SHIPPED)
        raise ReproError(f"{len(given)} models of your own to compare; name two at least, by {flags}")
    if arguments.models != "all" or arguments.backends:
        raise ReproError("--models and --backends are for the models of repro; leave them out beside your own")
    size = arguments.input or INPUT
    if not re.fullmatch(r"[1-9]\d{0,8}(,[1-9]\d{0,8})+", size):
        raise ReproError(f"--input is {size!r}; give a shape, such as {INPUT}")
    if arguments.seeds < 1:
        raise ReproError(f"--seeds is {arguments.seeds}; give a number above 0")
    rungs = _rungs(arguments.rungs)

    from repro.parity.console import LEGEND, Matrix
    from repro.parity.summary import conclude, write
    from repro.parity.user_models import adopt, climb, fill
    from repro.workers.client import Worker

    start = time.monotonic()

    records: list[Record] = []
    with ExitStack() as stack:
        workers = {backend: stack.enter_context(Worker(backend)) for backend in given}
        print(", ".join(f"{given[name]} in {name} {worker.version}" for name, worker in workers.items()) + "\n")
        adopted = adopt(workers, given, tuple(map(int, size.split(","))), arguments.mapping, print)
        print("\nall of them get the same scrambled weights, whatever the models hold", flush=True)
        for seed in range(arguments.seeds):
            weights = fill(adopted, seed, print)
            records += climb(adopted, rungs, weights, seed)
    title = adopted.spec.name
    names = {rung: RUNGS[rung] for rung in rungs}
    matrix = Matrix([title], names, list(workers))
    print(f"{LEGEND}\n\n{matrix.heading}\n{matrix.line(title, records)}")
    summary = conclude(records, time.monotonic() - start)
    versions = {name: worker.version for name, worker in workers.items()}
    write(arguments, records, names, versions, {title: "foreign"}, summary, argv)
    return int(any(record.diverges for record in records))


def _rungs(text: str | None) -> list[int]:
    known = list(map(str, RUNGS))
    names = [name.strip() for name in text.split(",")] if text and text != "all" else known
    for name in names:
        if name not in known:
            raise ReproError(f"rung {name!r} is not one for models of your own; those are {', '.join(known)}")
    return sorted(set(map(int, names)))
