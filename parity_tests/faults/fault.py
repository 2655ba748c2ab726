"""One planted fault."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from repro.parity.record import Record


@dataclass(frozen=True)
class Fault:
    """at: the module, parameter or statistic where it sits, "" for none; rung: where it must be caught; code: see
    parity_tests.faults.backend; said: the record's `where`, if that is not `at`, with * for anything, and | between
    those of which one will do."""

    name: str
    model: str
    at: str
    rung: int
    code: str
    said: str = ""

    def is_named_by(self, record: Record) -> bool:
        """Whether the record says where the fault is. Behind that may stand what runs before it, or the question."""
        where = record.where.replace(", float64", "")
        return any(
            fnmatchcase(where, end) for said in (self.said or self.at).split(" | ") for end in (said, f"{said} (*")
        )
