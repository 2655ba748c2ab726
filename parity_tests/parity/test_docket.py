"""The docket of public reports: its file, and the verdicts on one report of each operator."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from parity_tests.docket.reports import Report, judge_reports, load_reports, precision_and_recall
from repro.parity.operators.table import find_operator
from repro.workers.client import Worker

# Rulings that the definitions contradict: behaviour that the maintainers want, but that no page of theirs describes
KNOWN_DISAGREEMENTS = {
    "https://github.com/PaddlePaddle/Paddle/issues/20994",
    "https://github.com/PaddlePaddle/Paddle/issues/63678",
}


def core() -> list[Report]:
    """The first report of each operator."""
    return list({report.case.split()[0]: report for report in reversed(load_reports())}.values())


def test_the_file_is_sound() -> None:
    reports = load_reports()
    assert len(reports) >= 40
    assert len({report.report for report in reports}) == len(reports)
    for report in reports:
        name, *assignments = report.case.split()
        find_operator(name).parse(assignments)
        assert report.report.startswith("https://")
        assert set(report.frameworks.split()) <= {"torch", "paddle", "mindspore"}
        assert report.ruling in ("bug", "convention", "rounding", "fixed")
        assert report.by in ("maintainers", "report")
        assert bool(report.culprit) == (report.ruling == "bug")
        assert report.culprit in ("", *report.frameworks.split())
        assert report.said
        assert report.title
    assert {report.report for report in reports} >= KNOWN_DISAGREEMENTS


def test_names_of_reports() -> None:
    names = {report.short_name for report in load_reports()}
    assert {"Paddle#79630", "pytorch#32343", "docs: Conv2d", "docs: GELU"} <= names


@pytest.mark.slow
def test_verdicts_are_the_rulings(workers: dict[str, Worker]) -> None:
    outcomes = list(judge_reports(core(), workers))
    if set(workers) == {"torch", "paddle", "mindspore"}:
        assert len(outcomes) == len(core()) > 20
    assert [
        (outcome.report.report, outcome.finding.verdict, outcome.finding.culprits)
        for outcome in outcomes
        if outcome.agrees == (outcome.report.report in KNOWN_DISAGREEMENTS)
    ] == []
    assert "| bug |" in precision_and_recall(outcomes)


def test_precision_and_recall_worked_by_hand(
    workers: dict[str, Worker], require_backend: Callable[[str], None]
) -> None:
    require_backend("torch")
    require_backend("paddle")
    wrong_ruling = Report("https://example.org", "t", "gelu", "torch paddle", "bug", "report", "s", "paddle")
    right = Report("https://example.org", "t", "avg_pool2d padding=1", "torch paddle", "convention", "report", "s")
    table = precision_and_recall(list(judge_reports([wrong_ruling, right], workers)))
    assert "| bug | 1 | 0 | 0 | - | 0 % |" in table
    assert "| convention | 1 | 1 | 1 | 100 % | 100 % |" in table
    assert "| no difference | 0 | 1 | 0 | 0 % | - |" in table
