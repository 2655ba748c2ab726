"""The report on user models: the verdicts, then the causes, then the doubtful rows of the mapping."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from repro.errors import counted
from repro.parity.causes.culprit import Culprit
from repro.parity.record import Record

MAX_CAUSES_SHOWN, MAX_ROWS_SHOWN = 8, 8
DOUBTS = ("  ? ", "NO COUNTERPART", "only ")


def describe_verdicts(records: Sequence[Record]) -> Iterator[str]:
    """Yield a line with the verdict on each model, followed by a numbered paragraph for each cause."""
    first, *others = dict.fromkeys(record.backend for record in records)
    number = 0
    for backend in others:
        of_backend = [record for record in records if record.backend == backend]
        culprits = list({culprit.place: culprit for record in of_backend for culprit in record.causes}.values())
        yield _verdict(first, backend, of_backend, culprits)
        for culprit in culprits[:MAX_CAUSES_SHOWN]:
            number += 1
            yield from _paragraph(number, first, culprit)
        if len(culprits) > MAX_CAUSES_SHOWN:
            yield f"and {len(culprits) - MAX_CAUSES_SHOWN} more causes, which --json lists"


def unexplained(records: Sequence[Record]) -> list[Record]:
    """The records without agreement that no cause explains, neither on their rung nor on one before."""
    explained = {record.backend: record.rung for record in reversed(records) if record.causes}
    return [
        record
        for record in records
        if not record.agrees and not (record.diverges and explained.get(record.backend, record.rung + 1) <= record.rung)
    ]


def describe_mapping(rows: Sequence[str], *, show_all: bool) -> Iterator[str]:
    """Yield all rows of the mapping's table, or only those that are in doubt."""
    doubtful = [row for row in rows if any(doubt in row for doubt in DOUBTS)]
    if show_all:
        yield from rows
    elif doubtful:
        yield f"{len(doubtful)} rows of the mapping are in doubt (--show-mapping prints all {len(rows) - 1}):"
        yield from doubtful[:MAX_ROWS_SHOWN]
        if len(doubtful) > MAX_ROWS_SHOWN:
            yield f"and {len(doubtful) - MAX_ROWS_SHOWN} more"


def _verdict(first: str, backend: str, records: Sequence[Record], culprits: Sequence[Culprit]) -> str:
    diverging = [record for record in records if record.diverges]
    if diverging:
        off = {where for record in diverging for where, error, tolerance in record.profile
               if error is None or error > tolerance}  # fmt: skip
        following = max(len(off) - len(culprits), 0)
        causes = counted(len(culprits), "cause") if culprits else "no cause was found"
        others = counted(following, "other result is", "other results are")
        follows = f"; {others} off, which follows" if culprits and following else ""
        return f"{backend} DIVERGES from {first}: {causes}{follows}"
    open_rungs = sorted({record.rung for record in records if not record.agrees})
    if open_rungs:
        numbers = ", ".join(map(str, open_rungs))
        return f"{backend} cannot be compared with {first} on {'rung' if len(open_rungs) == 1 else 'rungs'} {numbers}"
    return f"{backend} agrees with {first}"


def _paragraph(number: int, first: str, culprit: Culprit) -> Iterator[str]:
    """The cause, and under it the call and the module of each model."""
    yield f"{number:>2}  {culprit.sentence}"
    width = max(len(first), len(culprit.backend))
    for backend, call, module in zip((first, culprit.backend), culprit.calls, culprit.modules, strict=True):
        if call or module:
            yield f"      {backend:{width}}  {call}{'  ' if call and module else ''}{module}"
