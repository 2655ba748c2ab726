"""`python -m repro.parity --torch MODULE:FUNCTION --paddle MODULE:FUNCTION`: models that are not ours."""

from __future__ import annotations

import argparse
import json
import re
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from repro.discovery import SHIPPED
from repro.errors import ReproError

RUNGS = {0: "mapping", 1: "eval", 2: "train", 4: "gradients"}
SOURCE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def add_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "your own models", "two or three of them, instead of --models; rungs 0, 1, 2 and 4"
    )
    for backend in SHIPPED:
        group.add_argument(f"--{backend}", metavar="MODULE:FUNCTION", help=f"a function that returns {backend}'s model")
    group.add_argument(
        "--input", default="2,3,64,64", metavar="N,C,H,W", help="shape of the input (default: 2,3,64,64)"
    )
    group.add_argument("--mapping", type=Path, metavar="FILE", help="which weight is which: written, or read if there")


def sources(arguments: argparse.Namespace) -> dict[str, str]:
    """Backend -> MODULE:FUNCTION, of those that were given."""
    return {backend: value for backend in SHIPPED if (value := getattr(arguments, backend))}


def run(arguments: argparse.Namespace) -> int:
    """Compares them, and returns the exit code."""
    given = sources(arguments)
    for backend, source in given.items():
        if not SOURCE.fullmatch(source):
            raise ReproError(f"--{backend} is {source!r}; give MODULE:FUNCTION, such as mymodel:build")
    if len(given) < 2:
        raise ReproError(f"--{next(iter(given))} is alone; name a second model to compare it with, such as --paddle")
    if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)+", arguments.input):
        raise ReproError(f"--input is {arguments.input!r}; give a shape, such as 2,3,64,64")
    rungs = _rungs(arguments.rungs)

    from repro.files import write_text
    from repro.parity.adopted import adopt, climb, fill
    from repro.workers import Worker

    shape = tuple(map(int, arguments.input.split(",")))
    with ExitStack() as stack:
        workers = {backend: stack.enter_context(Worker(backend)) for backend in given}
        print(", ".join(f"{name} {worker.version}: {given[name]}" for name, worker in workers.items()) + "\n")
        adopted = adopt(workers, given, shape, arguments.mapping, print)
        print("\nall of them get the same scrambled weights, whatever the models hold\n", flush=True)
        records = []
        for seed in range(arguments.seeds):
            weights = fill(adopted, seed, print)
            for record in climb(adopted, rungs, weights, seed):
                records.append(record)
                print(
                    f"{record.rung} {RUNGS[record.rung]:10} {record.backend:10} {record.verdict:9}"
                    f"{f' {record.share:.2f} of what is allowed' if record.share is not None else ''}",
                    flush=True,
                )
    failures = [record for record in records if record.verdict == "diverges"]
    print(
        "\n"
        + "".join(f"{record.sentence}\n" for record in failures)
        + f"{len(records)} comparisons, {len(failures)} diverge"
    )
    if arguments.json:
        write_text(arguments.json, json.dumps([asdict(record) for record in records], indent=1) + "\n")
    return 1 if failures else 0


def _rungs(text: str | None) -> list[int]:
    names = [name.strip() for name in text.split(",")] if text and text != "all" else list(map(str, RUNGS))
    for name in names:
        if name not in map(str, RUNGS):
            raise ReproError(f"rung {name!r} is not one for your own models; those are {', '.join(map(str, RUNGS))}")
    return sorted(set(map(int, names)))
