"""The reports of reports.yaml, the verdict on each, and how well the verdicts agree with the rulings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import yaml

from repro.parity.operators.table import find_operator
from repro.parity.operators.verdict import Finding, examine
from repro.workers.client import Worker

Ruling = Literal["bug", "convention", "rounding", "fixed"]
CLASSES = ("bug", "convention", "no difference")
CLASS_OF_RULING = {"bug": "bug", "convention": "convention", "rounding": "no difference", "fixed": "no difference"}
CLASS_OF_VERDICT = {
    "bug": "bug", "convention": "convention", "refused": "convention", "equal": "no difference",
    "rounding": "no difference", "unanswerable": "unanswerable",
}  # fmt: skip


@dataclass(frozen=True)
class Report:
    """A public report. The fields are those of reports.yaml."""

    report: str
    title: str
    case: str
    frameworks: str
    ruling: Ruling
    by: Literal["maintainers", "report"]
    said: str
    culprit: str = ""
    held_out: bool = False

    @property
    def expected(self) -> str:
        """The class that follows from the ruling."""
        return CLASS_OF_RULING[self.ruling]

    @property
    def short_name(self) -> str:
        """REPOSITORY#NUMBER, or the page's name for a page of documentation."""
        parts = self.report.split("/")
        is_thread = parts[2] == "github.com" and parts[5] in ("issues", "pull")
        return f"{parts[4]}#{parts[6]}" if is_thread else f"docs: {Path(parts[-1]).stem}"


@dataclass(frozen=True)
class Outcome:
    """The verdict on a report."""

    report: Report
    finding: Finding

    @property
    def verdict(self) -> str:
        """The class of the verdict."""
        return CLASS_OF_VERDICT[self.finding.verdict]

    @property
    def agrees(self) -> bool:
        """Return whether the verdict is the ruling, and names the same culprit."""
        culprits = " ".join(self.finding.culprits)
        return self.verdict == self.report.expected and culprits == self.report.culprit


@cache
def load_reports() -> tuple[Report, ...]:
    """The reports in the order of the file."""
    rows = yaml.safe_load(Path(__file__).with_name("reports.yaml").read_text(encoding="utf-8"))
    return tuple(Report(**row) for row in rows)


def judge_reports(reports: Sequence[Report], workers: Mapping[str, Worker]) -> Iterator[Outcome]:
    """Yield the verdict on each report whose frameworks all have a worker."""
    for report in reports:
        names = report.frameworks.split()
        if set(names) <= workers.keys():
            name, *assignments = report.case.split()
            operator = find_operator(name)
            chosen = operator.parse(assignments)
            yield Outcome(report, examine(operator, chosen, {name: workers[name] for name in names}))


def precision_and_recall(outcomes: Sequence[Outcome]) -> str:
    """A table: for each class, how many verdicts were right, and how many rulings were found."""
    lines = ["| class | ruled | verdicts | right | precision | recall |", "|---|---:|---:|---:|---:|---:|"]
    for name in CLASSES:
        ruled = [outcome for outcome in outcomes if outcome.report.expected == name]
        given = [outcome for outcome in outcomes if outcome.verdict == name]
        right = sum(outcome.agrees for outcome in given)
        shares = [f"{100 * right / len(group):.0f} %" if group else "-" for group in (given, ruled)]
        lines.append(f"| {name} | {len(ruled)} | {len(given)} | {right} | {shares[0]} | {shares[1]} |")
    return "\n".join(lines)
