"""User models that keep their own weights: a faulty conversion of a checkpoint is named by its weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from repro.parity.__main__ import main
from repro.parity.record import Record
from repro.parity.user_models.inputs import parse_inputs
from repro.parity.user_models.models import compare_own_weights, keep_own_weights, load_user_models
from repro.parity.user_models.rungs import run_user_rungs
from repro.workers.client import Worker

FOLDER = Path(__file__).resolve().parents[1] / "programs/user_models"
Compare = Callable[..., dict[tuple[int, str], Record]]


@pytest.fixture
def compare(workers: dict[str, Worker], monkeypatch: pytest.MonkeyPatch,
            require_backend: Callable[[str], None]) -> Compare:  # fmt: skip
    """A function that compares torch_own:build with a function of paddle_own.py. It returns (rung, label) -> record."""
    for backend in ("torch", "paddle"):
        require_backend(backend)
    monkeypatch.chdir(FOLDER)

    def run(rungs, function, file=None):
        sources = {"torch": "torch_own:build", "paddle": f"paddle_own:{function}"}
        chosen = {backend: workers[backend] for backend in sources}
        models = load_user_models(chosen, sources, parse_inputs(["2,3,6,5"]), file, lambda line: None)
        models = compare_own_weights(models)
        weights = keep_own_weights(models, 0)
        return {(record.rung, record.backend): record for record in run_user_rungs(models, rungs, weights, 0)}

    return run


def test_a_good_conversion_agrees(compare: Compare) -> None:
    records = compare([0, 1, 2, 4], "build")
    assert all(record.agrees for record in records.values())


FAULTS = {
    "not_transposed": ("hidden.weight", "12 of 16 elements (it looks transposed)", 1),
    "exchanged": ("norm.weight", "4 of 4 elements; norm.bias: its values differ", 2),
    "forgotten": ("norm.running_mean", "its values differ: 0 instead of", 2),
    "half": ("fc.weight", "of 20 elements", 1),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_conversion_is_named_by_its_weights(fault: str, compare: Compare) -> None:
    place, text, count = FAULTS[fault]
    records = compare([0, 1], fault)
    record = records[0, "paddle"]
    assert record.where.split(",")[0] == place
    assert text in record.reason
    assert record.reason.count("its values differ") == count
    assert records[0, "torch"].agrees
    assert records[1, "paddle"].diverges


def test_a_bias_that_the_other_model_lacks_must_be_0(compare: Compare, tmp_path: Path) -> None:
    file = tmp_path / "names.yaml"
    file.write_text("paddle: {conv.bias: null}")
    record = compare([0], "without_bias", file)[0, "paddle"]
    assert (record.where, record.reason) == ("conv.bias", "it is not 0 everywhere in torch, and paddle lacks it")


def test_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
                     require_backend: Callable[[str], None]) -> None:  # fmt: skip
    for backend in ("torch", "paddle"):
        require_backend(backend)
    monkeypatch.chdir(FOLDER)
    models = ["--torch", "torch_own:build", "--paddle", "paddle_own:not_transposed"]
    assert main([*models, "--input", "2,3,6,5", "--rungs", "0", "--own-weights"]) == 1
    output = capsys.readouterr().out
    assert "\neach model kept its own weights\n" in output
    assert "hidden.weight: its values differ" in output
