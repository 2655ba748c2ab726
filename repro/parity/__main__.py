"""Compare the backends: `python -m repro.parity --models asymmnet_large`."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack

from repro.cli import command_name, run_command
from repro.errors import ReproError, unknown
from repro.parity.modes import MODES
from repro.parity.operators import command as operator_command
from repro.parity.user_models import command as user_command


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code: 1 if anything diverges."""
    arguments = _create_parser().parse_args(argv)
    typed = sys.argv[1:] if argv is None else argv
    if operator_command.is_requested(arguments):
        return operator_command.compare_operator(arguments)
    if user_command.is_requested(arguments):
        return user_command.compare_user_models(arguments, typed)
    return _compare_catalogue(arguments, typed)


def _create_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=command_name("parity"),
        description="Compare the backends on the same weights and inputs. Exits with 1 if anything diverges.",
    )
    models = parser.add_argument_group("models of this repository")
    models.add_argument(
        "--models",
        metavar="NAMES",
        default="all",
        help="comma-separated variants, all (default), or smallest: the variant with the fewest MACs of each family",
    )
    models.add_argument(
        "--backends",
        metavar="NAMES",
        help="comma-separated backends, each of which must be installed (default: all installed backends)",
    )
    models.add_argument(
        "--modes",
        metavar="NAMES",
        help=f"comma-separated modes to compare, too: other ways in which a backend computes ({', '.join(MODES)})",
    )
    user_command.add_flags(parser)
    operator_command.add_flags(parser)
    comparison = parser.add_argument_group("comparison")
    comparison.add_argument(
        "--rungs",
        metavar="NAMES",
        help="comma-separated rungs of the ladder by number or name, such as 0,exact, or all (default: 0,1)",
    )
    comparison.add_argument(
        "--seeds", type=int, default=1, metavar="N", help="repeat with N different weights and inputs (default: 1)"
    )
    comparison.add_argument("--fresh", action="store_true", help="compute everything anew, without earlier results")
    output = parser.add_argument_group("output")
    output.add_argument(
        "--json", metavar="FILE", help="write the results to FILE as a JSON list, or that of --operator as an object"
    )
    output.add_argument("--html", metavar="FILE", help="write an interactive page with every verdict to FILE")
    return parser


def _compare_catalogue(arguments: argparse.Namespace, argv: Sequence[str]) -> int:
    """Compare variants of the catalogue and return the exit code. argv: the arguments as they were typed."""
    from repro.interface.discovery import backend_names
    from repro.parity import summary
    from repro.parity.cache import RecordCache
    from repro.parity.console import LEGEND, VerdictTable
    from repro.parity.ladder import RUNGS
    from repro.parity.variants import compare_variants, start_workers
    from repro.specs import CATALOGUE, find_spec, smallest_variants

    models = (
        smallest_variants()
        if arguments.models == "smallest"
        else _parse_names("model", arguments.models, list(CATALOGUE))
    )
    numbers = {str(rung): rung for rung in RUNGS} | {name: rung for rung, (name, _) in RUNGS.items()}
    rungs = sorted({numbers[name] for name in _parse_names("rung", arguments.rungs or "0,1", list(numbers))})
    backends = _parse_names("backend", arguments.backends, backend_names()) if arguments.backends else None
    modes = _parse_names("mode", arguments.modes, list(MODES)) if arguments.modes else []
    if arguments.seeds < 1:
        raise ReproError(f"--seeds is {arguments.seeds}; give a number above 0")
    rung_names = {rung: RUNGS[rung][0] for rung in rungs}
    start = time.monotonic()
    with ExitStack() as stack:
        workers = start_workers(backends, stack, modes)
        versions = {backend: worker.version for backend, worker in workers.items()}
        cache = RecordCache(versions, fresh=arguments.fresh)
        table = VerdictTable(models, rung_names, list(workers))
        print(", ".join(f"{backend} {version}" for backend, version in versions.items() if backend not in MODES))
        marks = [f"{table.marks[mode]} {mode}" for mode in versions if mode in MODES]
        print(f"modes: {', '.join(marks)}\n" if marks else "", end="")
        print(f"{LEGEND}\n\n{table.heading}", flush=True)
        records, cached = compare_variants(models, rungs, arguments.seeds, workers, cache, table)
    totals = summary.summarise(records, time.monotonic() - start, cached)
    print(f"\n{summary.describe_divergences(records)}{summary.describe_proofs(records)}{totals}")
    if arguments.seeds > 1:
        print(summary.describe_false_alarms(records, arguments.seeds))
    if cache.failure:
        print(f"results are not stored for later runs: {cache.failure}", file=sys.stderr)
    if arguments.json:
        summary.write_json(arguments.json, records)
    if arguments.html:
        command = f"{command_name('parity')} {shlex.join(argv)}"
        families = {model: find_spec(model).family for model in models}
        summary.write_html(arguments.html, records, rung_names, versions, families, totals, command)
    return int(any(record.diverges for record in records))


def _parse_names(kind: str, text: str, known: list[str]) -> list[str]:
    """The comma-separated names, without repetitions. Raises ReproError for an unknown name and for no name."""
    names = known if text == "all" else [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise unknown(kind, name, known)
    if not names:
        raise ReproError(f"no {kind} was named")
    return list(dict.fromkeys(names))


if __name__ == "__main__":
    run_command(main)
