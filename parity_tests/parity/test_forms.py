"""Weights of another form in each model, weights that only one model has, and a model that cannot be compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from repro.errors import ReproError
from repro.parity.record import Record
from repro.parity.user_models.inputs import parse_inputs
from repro.parity.user_models.models import load_random_weights, load_user_models
from repro.parity.user_models.rungs import run_user_rungs
from repro.workers.client import Worker

FOLDER = Path(__file__).resolve().parents[1] / "programs/user_models"
INPUTS = parse_inputs(["2,3,6,5"])
Compare = Callable[..., dict[tuple[int, str], Record]]


@pytest.fixture
def compare(workers: dict[str, Worker], monkeypatch: pytest.MonkeyPatch,
            require_backend: Callable[[str], None]) -> Compare:  # fmt: skip
    """A function that compares functions of BACKEND_forms.py and returns (rung, backend) -> record.

    lines: a list that gets the printed lines.
    """
    monkeypatch.chdir(FOLDER)

    def run(rungs, file=None, lines=None, **functions):
        for backend in functions:
            require_backend(backend)
        printed: list[str] = [] if lines is None else lines
        sources = {backend: f"{backend}_forms:{function}" for backend, function in functions.items()}
        chosen = {backend: workers[backend] for backend in functions}
        models = load_user_models(chosen, sources, INPUTS, file, printed.append)
        weights = load_random_weights(models, 0)
        return {(record.rung, record.backend): record for record in run_user_rungs(models, rungs, weights, 0)}

    return run


def test_weights_of_another_form_agree(compare: Compare, tmp_path: Path) -> None:
    """Packed, reshaped and unused weights, and a user's own normalisation, are paired without a mapping file."""
    lines: list[str] = []
    file = tmp_path / "names.yaml"
    records = compare([0, 1, 2, 4], file, lines, torch="build", paddle="build", mindspore="build")
    assert {key for key, record in records.items() if not record.agrees} == set()
    written = yaml.safe_load(file.read_text())
    assert written["paddle"]["attention.qkv.bias"] == [f"attention.{part}_proj.bias" for part in "qkv"]
    assert written["mindspore"]["attention.qkv.weight"] == ["attention.q.weight", "attention.kv.weight"]
    assert written["paddle"]["aux.weight"] is written["mindspore"]["aux.bias"] is None
    assert written["weights"]["paddle"]["attention.norm.weight"] == {"kind": "norm_scale", "shape": [8]}
    places = [where for where, _, _ in records[4, "paddle"].profile]
    assert "gradient of attention.qkv.weight" in places and "gradient of fc.weight" in places
    assert "gradient of aux.weight" not in places
    assert sum("does not influence the output" in line for line in lines) == 2


def test_tables_that_are_not_trained_are_no_weights(compare: Compare) -> None:
    records = compare([0, 1, 2, 4], torch="build", mindspore="with_tables")
    assert {key for key, record in records.items() if not record.agrees} == set()


def test_the_model_with_the_parts_may_be_the_first(compare: Compare) -> None:
    lines: list[str] = []
    records = compare([0, 1, 4], lines=lines, paddle="build", torch="build")
    assert {key for key, record in records.items() if not record.agrees} == set()
    assert "only torch has aux.weight (5, 8) linear, which does not influence the output" in lines
    assert any(line.endswith("attention.qkv.weight (part 3 of 3)") for line in lines)


def test_crossed_parts_diverge(compare: Compare) -> None:
    records = compare([1], torch="build", paddle="crossed")
    assert records[1, "paddle"].diverges


def test_a_missing_bias_is_0_only_if_the_mapping_says_so(compare: Compare, tmp_path: Path) -> None:
    file = tmp_path / "names.yaml"
    with pytest.raises(ReproError, match=r"stem\.bias \(8,\) bias has no counterpart; correct .*`NAME: null` for a"):
        compare([1], file, torch="with_bias", paddle="build")
    assert "stem.bias" not in yaml.safe_load(file.read_text())["paddle"]
    file.write_text("paddle: {stem.bias: null}")  # the other names are found automatically
    records = compare([1, 4], file, torch="with_bias", paddle="build")
    assert records[1, "paddle"].agrees and records[4, "paddle"].agrees
    assert yaml.safe_load(file.read_text())["paddle"]["stem.bias"] is None
    assert len(yaml.safe_load(file.read_text())["paddle"]) == 13
    file.write_text("torch: {null: [stem.bias]}")
    assert compare([1], file, paddle="build", torch="with_bias")[1, "torch"].agrees


def test_a_model_that_cannot_run_does_not_stop_the_others(compare: Compare) -> None:
    lines: list[str] = []
    records = compare([1, 4], lines=lines, torch="Broken", paddle="build", mindspore="build")
    assert records.keys() == {(rung, backend) for rung in (1, 4) for backend in ("paddle", "mindspore")}
    assert all(record.agrees for record in records.values())
    assert any(line.startswith("torch is left out: ") and "cannot run" in line for line in lines)
    lines.clear()
    records = compare([1], lines=lines, torch="build", paddle="build", mindspore="other")
    assert records.keys() == {(1, "torch"), (1, "paddle")}
    assert any(line.startswith("mindspore is left out: weights cannot be paired: mindspore: ") for line in lines)


def test_a_model_that_fails_in_training_does_not_stop_the_others(compare: Compare) -> None:
    records = compare([1, 2], torch="build", paddle="build", mindspore="only_evaluates")
    assert records[2, "paddle"].agrees
    assert records[1, "mindspore"].agrees
    assert records[2, "mindspore"].verdict == "unanswerable"
    assert "not in training" in records[2, "mindspore"].reason


def test_two_models_without_float64_are_compared_in_float32(compare: Compare) -> None:
    lines: list[str] = []
    records = compare([1, 2, 4], lines=lines, paddle="Single", mindspore="build")
    assert all(record.agrees and record.reference == "paddle" for record in records.values())
    assert "paddle is the reference in float32" in lines
    assert compare([1], paddle="crossed_single", mindspore="build")[1, "mindspore"].diverges
