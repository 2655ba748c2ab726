"""The command for user models: `python -m repro.parity --torch MODULE:FUNCTION --paddle MODULE:FUNCTION`."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from repro.cli import command_name
from repro.errors import ReproError
from repro.interface.discovery import SHIPPED
from repro.parity.library import DEFAULT_INPUT, USER_RUNGS, check_rungs, compare, name_sources


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
            help=f"function that returns the model in {backend}; give it twice to compare two models in {backend}",
        )
    group.add_argument(
        "--input",
        action="append",
        metavar="N,C,H,W",
        help="shape of an input, or int64:2,16<1000 for integers below 1000; give it once for each input (default: "
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
        "--own-weights",
        action="store_true",
        help="let each model keep its own weights, which are compared on rung 0 (default: all get random ones)",
    )
    group.add_argument(
        "--dump",
        type=Path,
        metavar="FILE",
        help="write what one model computes to FILE, to compare it on another machine",
    )
    group.add_argument("--against", type=Path, metavar="FILE", help="compare with the model in a FILE of --dump")
    group.add_argument(
        "--strict",
        action="store_true",
        help="count the constants of a framework as divergences, such as Paddle's biased variance of batches",
    )


def is_requested(arguments: argparse.Namespace) -> bool:
    """Return whether any flag of user models was given."""
    return (
        arguments.strict
        or arguments.show_mapping
        or arguments.own_weights
        or any(getattr(arguments, name) is not None for name in (*SHIPPED, "input", "mapping", "dump", "against"))
    )


def compare_user_models(arguments: argparse.Namespace, argv: Sequence[str]) -> int:
    """Compare the user models and return the exit code. argv: the arguments as they were typed."""
    from repro.parity import summary
    from repro.parity.user_models.dump_command import read_dump, write_dump
    from repro.parity.user_models.inputs import parse_inputs
    from repro.workers.client import Worker
    from repro.workers.dump import DumpedWorker

    if arguments.dump and arguments.against:
        raise ReproError("--dump writes a file of one model, and --against compares with one; give either")
    functions = {backend: getattr(arguments, backend) or [] for backend in SHIPPED}
    dump = read_dump(arguments) if arguments.against else None
    if dump:  # it is the first model
        functions = {dump.label: [dump.source, *functions.pop(dump.label)]} | functions
    sources = name_sources(functions, 1 if arguments.dump else 2)
    if arguments.models != "all" or arguments.backends or arguments.modes:
        raise ReproError("--models, --backends and --modes are for models of this repository; leave them out here")
    inputs = parse_inputs(arguments.input or [DEFAULT_INPUT])
    if arguments.seeds < 1:
        raise ReproError(f"--seeds is {arguments.seeds}; give a number above 0")
    text = arguments.rungs or "all"
    rungs = check_rungs(USER_RUNGS if text == "all" else [name.strip() for name in text.split(",")])

    if arguments.dump:
        return write_dump(arguments, sources, inputs, rungs)
    workers: dict[str, Worker] | None = {dump.label: DumpedWorker(dump, arguments.against)} if dump else None
    try:
        comparison = compare(
            sources, inputs, arguments.mapping, rungs, arguments.seeds, strict=arguments.strict,
            own_weights=arguments.own_weights, workers=workers,
        )  # fmt: skip
    finally:
        for worker in (workers or {}).values():
            worker.close()
    versions = comparison.versions
    print(", ".join(f"{source} in {label} {versions[label]}" for label, source in sources.items()) + "\n")
    print(comparison.report(show_mapping=arguments.show_mapping))
    if arguments.json:
        summary.write_json(arguments.json, comparison.records)
    if arguments.html:
        command = f"{command_name('parity')} {shlex.join(argv)}"
        title = comparison.records[0].model
        shown = {label: versions[label] for label in comparison.verdicts}
        totals = summary.summarise(comparison.records, comparison.seconds)
        rung_names = {rung: USER_RUNGS[rung] for rung in rungs}
        summary.write_html(
            arguments.html, comparison.records, rung_names, shown, {title: "user model"}, totals, command
        )
    return int(not comparison.agrees)
