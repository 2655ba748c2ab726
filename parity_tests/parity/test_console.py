"""repro.parity.console: the table of verdicts, the progress bar and its estimates."""

from __future__ import annotations

import io
import sys
from dataclasses import replace

import pytest

from parity_tests.support.records import make_record
from repro.parity.console import ProgressBar, VerdictTable, estimate_cost, verdict_mark
from repro.parity.ladder import RUNGS

BACKENDS = ("torch", "paddle", "mindspore")
RUNG_NAMES = {rung: name for rung, (name, _) in RUNGS.items()}


def test_a_row_has_a_mark_for_each_backend_and_fits_the_terminal() -> None:
    model = "asymmnet_large_x0_35_r0"
    table = VerdictTable([model], RUNG_NAMES, BACKENDS)
    ratios = {"torch": 0.0, "paddle": 0.999, "mindspore": 7.0}
    records = [
        make_record(rung=rung, backend=backend, error_ratio=ratios[backend])
        for rung in RUNG_NAMES
        for backend in BACKENDS
    ]
    line = table.line(model, records)
    assert line.split()[0] == model
    assert line.split(maxsplit=1)[1] == "|".join([" = 99 XX"] * 9).strip()
    assert all(len(row.rstrip()) <= 108 for row in (line, *table.heading.splitlines()))
    assert [title.strip() for title in table.heading.splitlines()[0].split("|")] == [
        "0 struc.", "1 eval", "2 train", "3 loss", "4 gradi.", "5 optim.", "6 traje.", "7 outco.",
        "8 exact",
    ]  # fmt: skip


def test_a_narrow_table_has_full_titles() -> None:
    assert VerdictTable(["vgg16"], {0: "structure", 1: "eval"}, BACKENDS).heading.split("\n") == [
        "       0 structure|1 eval", "       to pa mi   |to pa mi"
    ]  # fmt: skip


def test_a_cell_without_a_record_is_empty() -> None:
    table = VerdictTable(["vgg16"], RUNG_NAMES, BACKENDS)
    assert table.line("vgg16", [make_record(rung=8, backend="paddle")]).endswith("|   25")


def test_a_cell_shows_the_worst_seed() -> None:
    table = VerdictTable(["vgg16"], {1: "eval"}, ["torch"])
    assert table.line("vgg16", [make_record(error_ratio=ratio) for ratio in (0.2, 0.9, 0.0)]) == "vgg16  90"


@pytest.mark.parametrize(
    ("error_ratio", "mark"), [(0.0, "="), (0.004, "0"), (0.125, "13"), (0.1746, "17"), (1.0, "99"), (1.01, "XX")]
)
def test_marks(error_ratio: float, mark: str) -> None:
    assert verdict_mark(make_record(error_ratio=error_ratio)) == mark


def test_the_mark_of_a_failure() -> None:
    assert verdict_mark(replace(make_record(error_ratio=2.0), max_error=None)) == "XX"


def test_bigger_variants_and_later_rungs_cost_more() -> None:
    assert estimate_cost("asymmnet_small_x0_35", 1) < estimate_cost("vgg16", 1) < estimate_cost("vgg16", 4)


def test_an_unknown_rung_costs_as_much_as_the_longest() -> None:
    assert estimate_cost("vgg16", 99) == max(estimate_cost("vgg16", rung) for rung in RUNGS)


def test_progress_is_shown_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", terminal)
    with ProgressBar(2, 10.0) as progress:
        progress.begin_variant(1, "vgg19")
        progress.update(5.0)
        progress.refresh()
    assert "1/2 done, comparing vgg19:  50 %" in terminal.getvalue()
    assert "left" in terminal.getvalue()
