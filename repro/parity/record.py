"""One cell of the report."""

from __future__ import annotations

from dataclasses import dataclass

from repro.parity.compare import Comparison, Verdict


@dataclass(frozen=True)
class Record:
    """One variant, rung and backend, as `repro.parity --json` writes it."""

    model: str
    rung: int
    backend: str
    reference: str
    verdict: Verdict
    max_error: float | None
    tolerance: float
    where: str
    reason: str

    @classmethod
    def of(cls, model: str, rung: int, backend: str, reference: str, found: Comparison) -> Record:
        """The record of the comparison that speaks for a rung."""
        return cls(
            model, rung, backend, reference, found.verdict, found.max_error, found.tolerance, found.where, found.reason
        )
