"""What the command leaves behind, for models of ours and for others."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from repro.files import write_text
from repro.parity.console import duration
from repro.parity.page import page
from repro.parity.record import Record


def conclude(records: Sequence[Record], seconds: float, kept: int = 0) -> str:
    """Prints a sentence for each divergence, and the totals, which it returns. kept: of how many earlier runs knew."""
    failures = [record for record in records if record.diverges]
    print("\n" + "".join(f"{record.sentence}\n" for record in failures), end="")
    summary = f"{len(records)} comparisons, {len(failures)} diverge, in {duration(seconds)}"
    summary += f" ({kept} kept from earlier runs)" * bool(kept)
    print(summary)
    return summary


def write(
    arguments: argparse.Namespace, records: Sequence[Record], rungs: Mapping[int, str], versions: Mapping[str, str],
    families: Mapping[str, str], summary: str, argv: Sequence[str],
) -> None:  # fmt: skip
    """The files of --json and --html, where they were asked for. Raises ReproError where they cannot be written."""
    if arguments.json:
        write_text(arguments.json, json.dumps([asdict(record) for record in records], indent=1) + "\n")
    if arguments.html:
        command = f"python -m repro.parity {shlex.join(argv)}"
        write_text(arguments.html, page(records, rungs, versions, families, summary, command))
