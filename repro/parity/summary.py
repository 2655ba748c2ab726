"""The end of the command: the divergences and totals that it prints, and the files that it writes."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from repro.files import write_text
from repro.parity.console import format_duration
from repro.parity.exact_rung import EXACT_RUNG
from repro.parity.page import render_page
from repro.parity.record import Record
from repro.specs import find_spec


def summarise(records: Sequence[Record], seconds: float, cached: int = 0) -> str:
    """The totals in one line. cached: number of records that are from earlier runs."""
    diverging = sum(record.diverges for record in records)
    unanswerable = sum(not record.agrees for record in records) - diverging
    counts = f"{diverging} diverge" + (f", {unanswerable} cannot be answered" if unanswerable else "")
    totals = f"{len(records)} comparisons, {counts}, in {format_duration(seconds)}"
    return f"{totals} ({cached} from earlier runs)" if cached else totals


def describe_divergences(records: Sequence[Record]) -> str:
    """A line for each record that diverges or cannot be answered, and one for several of the same sentence."""
    sentences = dict.fromkeys(record.sentence for record in records if not record.agrees)
    return "".join(f"{sentence}\n" for sentence in sentences)


def describe_proofs(records: Sequence[Record]) -> str:
    """A line for each family on rung 8: the share of its results that are proved, and the types of the others."""
    families: dict[
        str, dict[str, Record]
    ] = {}  # family -> variant -> one of its records, which all have the same proof
    for record in records:
        if record.rung == EXACT_RUNG and record.profile:
            families.setdefault(find_spec(record.model).family, {})[record.model] = record
    lines = []
    for family, variants in families.items():
        proved = sum(len(record.profile) for record in variants.values())
        types = Counter(name.rpartition(" (")[2][:-1] for record in variants.values() for name in record.unproved)
        total = proved + sum(types.values())
        others = ", ".join(f"{name} {count:,}" for name, count in types.most_common())
        lines.append(
            f"exact: {family:15} {proved:7,} of {total:7,} results proved ({_percent(proved, total)})"
            + (f"; not proved: {others}" if others else "")
        )
    return "".join(f"{line}\n" for line in lines)


def _percent(part: int, total: int) -> str:
    """A share that is 100 % only where it is complete."""
    return f"{math.floor(1000 * part / total) / 10:g} %"


def describe_false_alarms(records: Sequence[Record], seeds: int) -> str:
    """Describe what several seeds show of sound backends: how often they diverge by chance, and how narrowly."""
    diverging = sum(record.diverges for record in records)
    largest = max((record.error_ratio or 0.0 for record in records), default=0.0)
    return (
        f"false alarms, if the backends are sound: {diverging} in {seeds} seeds x {len(records) // seeds} "
        f"comparisons; largest error in units of the tolerance: {largest:.2f}"
    )


def write_json(path: str, records: Sequence[Record]) -> None:
    """Write the records as a JSON list. Raises ReproError if the file cannot be written."""
    write_text(path, json.dumps([asdict(record) for record in records], indent=1) + "\n")


def write_html(
    path: str, records: Sequence[Record], rungs: Mapping[int, str], versions: Mapping[str, str],
    families: Mapping[str, str], summary: str, command: str,
) -> None:  # fmt: skip
    """Write the page of the records; the other arguments are those of render_page.

    Raises ReproError if the file cannot be written.
    """
    write_text(path, render_page(records, rungs, versions, families, summary, command))
