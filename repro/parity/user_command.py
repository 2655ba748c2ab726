"""The command for user models: `python -m repro.parity --torch MODULE:FUNCTION --paddle MODULE:FUNCTION`."""

from __future__ import annotations

import argparse
import re
import shlex
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from repro.cli import command_name
from repro.errors import ReproError
from repro.interface.discovery import SHIPPED, backend_of

DEFAULT_INPUT = "2,3,64,64"
RUNGS = {0: "mapping", 1: "eval", 2: "train", 4: "gradients"}
SOURCE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")  # MODULE:FUNCTION


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of user models to the command's parser."""
    group = parser.add_argument_group(
        "user models",
        "Compare models that are not from this repository, on rungs 0, 1, 2 and 4 (default: all four).",
    )
    for backend in SHIPPED:
        group.add_argument(
            f"--{backend}",
            action="append",
            metavar="MODULE:FUNCTION",
            help=f"function that returns the model in {backend}; twice to compare two models in it",
        )
    group.add_argument(
        "--input",
        action="append",
        metavar="N,C,H,W",
        help=f"shape of an input, or int64:2,16<1000 for integers below 1000; once for each input (default: "
        f"{DEFAULT_INPUT})",
    )
    group.add_argument(
        "--mapping",
        type=Path,
        metavar="FILE",
        help="YAML file that pairs the weights of the models; written if it does not exist, otherwise read",
    )
    group.add_argument("--show-mapping", action="store_true", help="print all pairs of weights, not only doubtful ones")
    group.add_argument(
        "--strict",
        action="store_true",
        help="let constants of a framework diverge: Paddle averages the biased variance of batches",
    )


def is_requested(arguments: argparse.Namespace) -> bool:
    """Return whether any flag of user models was given."""
    return (
        arguments.strict
        or arguments.show_mapping
        or any(getattr(arguments, name) is not None for name in (*SHIPPED, "input", "mapping"))
    )


def compare_user_models(arguments: argparse.Namespace, argv: Sequence[str]) -> int:
    """Compare the user models and return the exit code. argv: the arguments as they were typed."""
    from repro.parity.user_inputs import parse_inputs

    sources = _parse_sources(arguments)
    if arguments.models != "all" or arguments.backends:
        raise ReproError("--models and --backends choose models of this repository; leave them out with user models")
    inputs = parse_inputs(arguments.input or [DEFAULT_INPUT])
    if arguments.seeds < 1:
        raise ReproError(f"--seeds is {arguments.seeds}; give a number above 0")
    rungs = _parse_rungs(arguments.rungs)

    from repro.parity import summary, user_report
    from repro.parity.console import LEGEND, VerdictTable
    from repro.parity.constants import describe_constants
    from repro.parity.culprits import explain_divergences
    from repro.parity.record import Record
    from repro.parity.user_models import load_random_weights, load_user_models
    from repro.parity.user_rungs import run_user_rungs
    from repro.workers.client import Worker

    start = time.monotonic()
    records: list[Record] = []
    notes: list[str] = []
    mapping: list[str] = []
    with ExitStack() as stack:
        workers = {label: stack.enter_context(Worker(backend_of(label), label=label)) for label in sources}
        versions = {backend: worker.version for backend, worker in workers.items()}
        print(", ".join(f"{sources[backend]} in {backend} {version}" for backend, version in versions.items()) + "\n")
        models = load_user_models(
            workers, sources, inputs, arguments.mapping, notes.append, print_mapping=mapping.append
        )
        for seed in range(arguments.seeds):
            weights = load_random_weights(models, seed)
            of_seed = list(run_user_rungs(models, rungs, weights, seed, strict=arguments.strict))
            records += explain_divergences(models, of_seed, weights, seed)
    title, compared = models.spec.name, list(models.workers)
    rung_names = {rung: RUNGS[rung] for rung in rungs}
    table = VerdictTable([title], rung_names, compared)
    totals = summary.summarise(records, time.monotonic() - start)
    open_questions = summary.describe_divergences(user_report.unexplained(records))
    print("\n".join(user_report.describe_verdicts(records)), end=f"\n{open_questions}\n")
    print(f"{table.heading}\n{table.line(title, records)}\n{LEGEND}   ?? cannot be answered\n{totals}\n")
    if 2 in rungs and not arguments.strict:
        notes += describe_constants(models)
    notes += user_report.describe_mapping(mapping, show_all=arguments.show_mapping)
    print("\n".join(["all models got the same random weights in place of their own", *notes]))
    if arguments.json:
        summary.write_json(arguments.json, records)
    if arguments.html:
        command = f"{command_name('parity')} {shlex.join(argv)}"
        families = {title: models.spec.family}
        shown = {label: versions[label] for label in compared}
        summary.write_html(arguments.html, records, rung_names, shown, families, totals, command)
    return int(bool(models.left_out) or not all(record.agrees for record in records))


def _parse_sources(arguments: argparse.Namespace) -> dict[str, str]:
    """Label -> "MODULE:FUNCTION": torch, torch#2 and so on. Raises ReproError unless there are two at least."""
    sources = {}
    for backend in SHIPPED:
        for number, source in enumerate(getattr(arguments, backend) or [], 1):
            if not SOURCE.fullmatch(source):
                raise ReproError(f"--{backend} is {source!r}; give MODULE:FUNCTION, such as mymodel:build")
            sources[backend if number == 1 else f"{backend}#{number}"] = source
    if len(sources) < 2:
        flags = ", ".join(f"--{backend}" for backend in SHIPPED)
        count = "one user model" if sources else "no user model"
        raise ReproError(f"{count} to compare; give at least two of {flags}, or one of them twice")
    return sources


def _parse_rungs(text: str | None) -> list[int]:
    known = list(map(str, RUNGS))
    names = [name.strip() for name in text.split(",")] if text and text != "all" else known
    for name in names:
        if name not in known:
            raise ReproError(f"rung {name!r} does not exist for user models; choose among {', '.join(known)}")
    return sorted(set(map(int, names)))
