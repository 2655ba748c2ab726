"""The record of one comparison: a variant on a rung, computed by one backend."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from repro.parity.causes.culprit import Culprit
from repro.parity.comparison import AGREEMENT, ArrayComparison, Verdict

# Where an array was compared, its largest error (None where there is no number), and its tolerance
ProfilePoint = tuple[str, float | None, float]


@dataclass(frozen=True)
class Record:
    """One cell of the report, as `repro.parity --json` writes it.

    where, reason: the first array that diverges in the order of computation, or else the one nearest to its tolerance,
    and its comparison in words; profile: every array that was compared, in the order of computation; causes: the places
    at which a user model errs by itself, each at the first rung on which it shows; unproved: on rung 8, the results
    that were not compared, each with the type of its module in brackets.
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
    profile: Sequence[ProfilePoint] = ()
    causes: Sequence[Culprit] = ()
    unproved: Sequence[str] = ()

    @classmethod
    def from_comparison(
        cls,
        model: str,
        rung: int,
        backend: str,
        reference: str,
        comparison: ArrayComparison,
        profile: Sequence[ProfilePoint] = (),
    ) -> Record:
        """The record of a backend on a rung, for which this comparison stands."""
        return cls(
            model, rung, backend, reference, comparison.verdict, comparison.max_error, comparison.tolerance,
            comparison.where, comparison.reason, profile,
        )  # fmt: skip

    @property
    def diverges(self) -> bool:
        """Return whether the backend diverges or failed."""
        return self.verdict == "diverges"

    @property
    def agrees(self) -> bool:
        """Return whether the backend was shown to be equal, up to rounding."""
        return self.verdict in AGREEMENT

    @property
    def error_ratio(self) -> float | None:
        """The error in units of the tolerance; None where there is no error or no tolerance."""
        return self.max_error / self.tolerance if self.max_error is not None and self.tolerance else None

    @property
    def sentence(self) -> str:
        """The record as one sentence."""
        if not self.reference:  # the backend failed, and the reason names it
            return f"{self.model}, rung {self.rung}: {self.reason}"
        relation = {
            "diverges": f"{self.backend} first diverges from {self.reference}",
            "rounding": f"{self.backend} agrees with {self.reference} within the tolerance, with the least margin",
            "constant": f"{self.backend} agrees with {self.reference} except for a constant of a framework",
            "equal": f"{self.backend} is equal to {self.reference}",
            "unanswerable": f"{self.backend} cannot be compared with {self.reference}",
        }[self.verdict]
        place = f" at {self.where}" if self.where else ""
        return f"{self.model}, rung {self.rung}: {relation}{place}: {self.reason}"


def worst_record(records: Iterable[Record]) -> Record:
    """The record that stands for several of the same cell, which come from different seeds."""
    return max(
        records,
        key=lambda record: (
            record.diverges,
            not record.agrees,
            AGREEMENT.index(record.verdict) if record.agrees else 0,
            record.error_ratio or 0.0,
        ),
    )
