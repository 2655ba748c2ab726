"""The command for operators: `python -m repro.parity --operator conv2d --set stride=2 --set padding=same`."""

from __future__ import annotations

import argparse
from contextlib import ExitStack

from repro.choices import FRAMEWORKS
from repro.errors import ReproError, unknown

OTHER_FLAGS = (*FRAMEWORKS, "modes", "input", "mapping", "strict", "rungs", "html", "fresh")  # for models


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of operators to the command's parser."""
    group = parser.add_argument_group(
        "single operators",
        "Compare an operator, forward and backward, in all frameworks and with the documentation of each.",
    )
    group.add_argument("--operator", metavar="NAME", help="operator to compare, such as conv2d; list prints all")
    group.add_argument(
        "--set",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="setting of the operator, shape of its input (shape=1,3,4,4) or numbers in it (x=0.5,nan,-inf); may be "
        "repeated",
    )
    group.add_argument(
        "--script", choices=FRAMEWORKS, help="print a program that computes the operator and needs only this framework"
    )


def is_requested(arguments: argparse.Namespace) -> bool:
    """Return whether any flag of operators was given."""
    return arguments.operator is not None or bool(arguments.set) or arguments.script is not None


def compare_operator(arguments: argparse.Namespace) -> int:
    """Compare an operator, or print the list or the script; the exit code is 1 if the frameworks do not agree."""
    if arguments.operator is None:
        raise ReproError("--set and --script need --operator NAME; --operator list prints the operators")
    if other := [name for name in OTHER_FLAGS if getattr(arguments, name, None)]:
        raise ReproError(f"--{other[0]} is a flag for models; leave it out with --operator")

    from repro.files import write_text
    from repro.parity.operators.definition import define
    from repro.parity.operators.report import finding_as_json, list_operators, report_finding
    from repro.parity.operators.script import standalone_script
    from repro.parity.operators.table import OPERATORS, find_operator
    from repro.parity.operators.verdict import examine
    from repro.parity.variants import start_workers

    if arguments.json and (arguments.script or arguments.operator == "list"):
        raise ReproError("--json writes a finding; leave it out with --script and with --operator list")
    if arguments.operator == "list":
        print(list_operators(OPERATORS.values()))
        return 0
    operator = find_operator(arguments.operator)
    chosen = operator.parse(arguments.set)
    if arguments.script:
        print(standalone_script(operator, arguments.script, chosen), end="")
        return 0
    backends = arguments.backends.split(",") if arguments.backends else list(FRAMEWORKS)
    for backend in backends:
        if backend not in FRAMEWORKS:
            raise unknown("framework", backend, FRAMEWORKS)
    define(operator, operator.make_inputs(chosen), operator.documented(backends[0], chosen))  # raises before any starts
    with ExitStack() as stack:
        workers = start_workers(backends if arguments.backends else None, stack)
        workers = {name: worker for name, worker in workers.items() if name in FRAMEWORKS}
        versions = {name: worker.version for name, worker in workers.items()}
        print(", ".join(f"{name} {version}" for name, version in versions.items()), flush=True)
        finding = examine(operator, chosen, workers)
    print(report_finding(operator, finding))
    if arguments.json:
        write_text(arguments.json, finding_as_json(operator, finding, versions))
    return int(finding.verdict not in ("equal", "rounding"))
