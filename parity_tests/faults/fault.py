"""The description of one planted fault."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from repro.parity.record import Record


@dataclass(frozen=True)
class Fault:
    """A mistake in one model.

    target: name of the module, parameter or running statistic that has the fault, "" for the whole model or trainer;
    rung: the rung that must catch it; code: Python statements that plant it, see faulty_backend.py; reported: patterns
    of the place in the report, separated by " | ", if it is not `target`.
    """

    name: str
    model: str
    target: str
    rung: int
    code: str
    reported: str = ""

    def is_named_by(self, record: Record) -> bool:
        """Return whether the record names the fault's place, which "(after ...)" or a computation's name may follow."""
        place = record.where.replace(", float64", "")
        patterns = (self.reported or self.target).split(" | ")
        return any(fnmatchcase(place, pattern) or fnmatchcase(place, f"{pattern} (*") for pattern in patterns)
