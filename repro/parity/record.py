"""One cell of the report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from repro.parity.comparison import Comparison, Verdict

Point = tuple[str, float | None, float]  # where, the largest error there (None: no number), and what is allowed there


@dataclass(frozen=True)
class Record:
    """One variant, rung and backend, as `repro.parity --json` writes it.

    where, reason: of the first thing that diverges in the order of computing, or of what comes nearest to its
    tolerance; profile: all that was compared, in the order of computing.
    """

    model: str
    rung: int
    backend: str
    reference: str
    verdict: Verdict
    max_error: float | None
    tolerance: float
    where: str
    reason: str
    profile: Sequence[Point] = ()

    @classmethod
    def of(
        cls, model: str, rung: int, backend: str, reference: str, found: Comparison, profile: Sequence[Point] = ()
    ) -> Record:
        """The record of the comparison that speaks for a rung."""
        return cls(
            model, rung, backend, reference, found.verdict, found.max_error, found.tolerance, found.where,
            found.reason, profile,
        )  # fmt: skip

    @property
    def diverges(self) -> bool:
        return self.verdict == "diverges"

    @property
    def share(self) -> float | None:
        """The error in units of the tolerance, where there are both."""
        return self.max_error / self.tolerance if self.max_error is not None and self.tolerance else None

    @property
    def sentence(self) -> str:
        what = {
            "diverges": f"{self.backend} diverges from {self.reference} first at",
            "rounding": f"{self.backend} agrees with {self.reference} up to rounding, with the least to spare at",
            "equal": f"{self.backend} is equal to {self.reference}",
        }[self.verdict]
        if not self.reference:  # the backend failed, and says so itself
            return f"{self.model}, rung {self.rung}: {self.reason}"
        return f"{self.model}, rung {self.rung}: {what}{f' {self.where}' * bool(self.where)}: {self.reason}"


def worst(records: Iterable[Record]) -> Record:
    """The one that speaks for several of the same cell, from other seeds."""
    return max(records, key=lambda record: (record.diverges, record.verdict == "rounding", record.share or 0.0))
