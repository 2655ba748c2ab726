"""One cell of the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from repro.parity.compare import Comparison, Verdict

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
    def share(self) -> float | None:
        """The error in units of the tolerance, where there are both."""
        return self.max_error / self.tolerance if self.max_error is not None and self.tolerance else None

    @property
    def sentence(self) -> str:
        return f"{self.model}, rung {self.rung}: {self.backend} {self.verdict} at {self.where}: {self.reason}"
