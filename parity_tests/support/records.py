"""Made-up records of repro.parity."""

from __future__ import annotations

from repro.parity.comparison import Verdict
from repro.parity.record import Record


def make_record(model: str = "vgg16", rung: int = 1, backend: str = "torch", *, error_ratio: float = 0.25) -> Record:
    """A record whose error is `error_ratio` times its tolerance, which decides the verdict."""
    verdict: Verdict = "diverges" if error_ratio > 1 else "rounding" if error_ratio else "equal"
    error, tolerance = error_ratio * 1e-6, 1e-6
    profile = [("stem", 1e-7, 1e-6), ("logits", error, tolerance)]
    return Record(model, rung, backend, "torch float64", verdict, error, tolerance, "logits", "a reason", profile)
