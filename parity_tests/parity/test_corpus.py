"""The core of the corpus of models of packages, and its table (docs/corpus.md)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from parity_tests.corpus.pairs import Outcome, compare, row
from parity_tests.corpus.table import PAIRS, Pair
from repro.parity.record import Record
from repro.workers.client import Worker

CORE = [pair for pair in PAIRS if pair.core]


@pytest.mark.slow
@pytest.mark.parametrize("pair", CORE, ids=lambda pair: pair.name)
def test_a_pair_of_the_core_comes_out_as_expected(
    pair: Pair, workers: dict[str, Worker], require_backend: Callable[[str], None]
) -> None:
    for backend in pair.functions:
        require_backend(backend)
    assert compare(workers, pair).problem == ""


def test_the_table_is_complete() -> None:
    assert len({pair.name for pair in PAIRS}) == len(PAIRS) >= 60
    assert all(len(pair.functions) == len(pair.name.split()) >= 2 for pair in PAIRS)
    assert {bool(pair.differs) for pair in CORE} == {True, False}
    assert all(bool(pair.cause) == bool(pair.differs or pair.error) for pair in PAIRS)
    assert all(pair.differs.keys() < pair.functions.keys() for pair in PAIRS if pair.differs)


SOUND = Pair("torchvision:resnet18 mindcv:resnet18")
WRONG = replace(SOUND, differs={"mindspore": (1, "layer1")}, cause="its padding")


def record(verdict: str, rung: int = 1, where: str = "input of layer1.0.conv1") -> Record:
    error = 1.0 if verdict == "diverges" else 0.1
    return Record("net", rung, "mindspore", "torch float64", verdict, error, 0.5, where, "")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pair", "records", "problem"),
    [
        (SOUND, [record("rounding"), record("constant")], ""),
        (SOUND, [record("diverges")], "FALSE ALARM"),
        (SOUND, [record("unanswerable")], "FALSE ALARM"),
        (WRONG, [record("diverges")], ""),
        (WRONG, [record("rounding")], "FALSE PASS"),
        (WRONG, [record("unanswerable")], "OTHER PLACE"),
        (WRONG, [record("diverges", rung=2)], "OTHER PLACE"),
        (WRONG, [record("diverges", where="input of layer2.0.conv1")], "OTHER PLACE"),
    ],
)
def test_false_alarms_and_false_passes_are_told_apart(pair: Pair, records: list[Record], problem: str) -> None:
    outcome = Outcome(pair, records=records)
    assert outcome.problem.startswith(problem)
    assert bool(outcome.problem) == bool(problem)


def test_an_error_must_be_expected() -> None:
    assert Outcome(SOUND, error="it does not run").problem == "it does not run"
    assert Outcome(replace(SOUND, error="not run"), error="it does not run").problem == ""
    assert Outcome(replace(SOUND, error="not run"), records=[record("rounding")]).problem.startswith("FALSE PASS")


def test_a_row_shows_verdict_doubts_and_expectation() -> None:
    outcome = Outcome(WRONG, weights=102, doubts=3, records=[record("diverges")], seconds=12.3)
    assert row(outcome) == (
        f"| {WRONG.name} | 102, 3 ? | mindspore differs on rung 1 at `input of layer1.0.conv1` | its padding | 12 |"
    )
    assert "| agrees; a constant on rung 1 | agrees |" in row(Outcome(SOUND, records=[record("constant")]))
