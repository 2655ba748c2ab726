"""Tests of repro.ablation and repro.evaluation.ablation_tables, with the made-up backend."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from parity_tests.support.made_up import SoftmaxRegression
from repro.ablation import main
from repro.errors import ReproError
from repro.evaluation.ablation_tables import read_tables
from repro.specs import find_spec

pytestmark = pytest.mark.usefixtures("made_up_backend")
FLAGS = ["--backend", "torch", "--option", "depth=8", "--image-size", "8", "--batch-size", "256", "--out", "runs"]
ORIGINAL, FULL_PREACTIVATION = "resnet110_cifar", "resnet110_cifar_full_preact"


@pytest.mark.slow
def test_every_unit_is_trained_once_and_compared_with_the_paper(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(SoftmaxRegression, "features", lambda self, images: images.reshape(len(images), -1)[:, :64])
    main([*FLAGS, "--epochs", "1"])
    printed = capsys.readouterr().out
    names = {row.variant for rows in read_tables().values() for row in rows}
    assert {path.name for path in Path("runs").iterdir()} == names and len(names) == 11
    assert printed.count("  paper") == 2 and "full pre-activation" in printed and " 6.37" in printed
    best = json.loads(Path(f"runs/{FULL_PREACTIVATION}/summary.json").read_text())["best_val_top1"]
    (line,) = [line for line in printed.splitlines() if line.startswith("full pre-activation")]
    assert line.split()[-2:] == [f"{100 * (1 - best):.2f}", "6.37"]
    steps = SoftmaxRegression.steps_taken
    main([*FLAGS, "--epochs", "1"])
    assert SoftmaxRegression.steps_taken == steps
    assert printed.endswith(capsys.readouterr().out)
    for changed in (
        ["--epochs", "2"],
        ["--epochs", "1", "--backend", "paddle"],
        ["--epochs", "1", "--option", "depth=14"],
    ):
        with pytest.raises(ReproError, match=f"runs/{ORIGINAL} contains a run with (epochs|backend|options) .*; give"):
            main([*FLAGS, "--epochs", "1", *changed])
    Path(f"runs/{ORIGINAL}/summary.json").unlink()
    with pytest.raises(ReproError, match="contains a run with seed 0, not 1; give another --out"):
        main([*FLAGS, "--epochs", "1", "--seed", "1"])
    main([*FLAGS, "--epochs", "1"])
    assert SoftmaxRegression.steps_taken == steps and Path(f"runs/{ORIGINAL}/summary.json").exists()


@pytest.mark.slow
def test_a_unit_that_diverges_fails_and_the_others_are_trained(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def spoil(trainer: SoftmaxRegression) -> None:
        trainer.arrays["classifier.bias"][0] = np.nan

    monkeypatch.setattr(SoftmaxRegression, "features", lambda self, images: images.reshape(len(images), -1)[:, :64])
    monkeypatch.setattr(SoftmaxRegression, "stop", (8, spoil))  # in the second unit; each unit takes 5 steps
    monkeypatch.setattr(SoftmaxRegression, "steps_taken", 0)
    main([*FLAGS, "--epochs", "1"])
    printed = capsys.readouterr()
    assert "constant scaling, 0.5 and 0.5     fail  12.35" in printed.out and printed.out.count("  fail  ") == 1
    assert f"{ORIGINAL}_scaled: the loss became nan at step 3 of epoch 1" in printed.err
    steps = SoftmaxRegression.steps_taken
    main([*FLAGS, "--epochs", "1"])  # the failed unit is not trained again
    assert SoftmaxRegression.steps_taken == steps and printed.out.endswith(capsys.readouterr().out)


def test_a_folder_that_is_not_a_run_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    note = Path(f"runs/{ORIGINAL}/notes.txt")
    note.parent.mkdir(parents=True)
    note.touch()
    with pytest.raises(ReproError, match=f"runs/{ORIGINAL} already exists"):
        main([*FLAGS, "--epochs", "1"])
    assert note.exists() and len(list(Path("runs").rglob("*"))) == 2


def test_the_units_are_in_the_catalogue() -> None:
    for rows in read_tables().values():
        assert all(find_spec(row.variant).family == "resnet_cifar" for row in rows)


def test_several_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several processes would look for runs that another one is writing."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(ReproError, match="ablations are trained in one process"):
        main([*FLAGS, "--epochs", "1"])
    assert not Path("runs").exists()


def test_a_model_is_refused() -> None:
    with pytest.raises(ReproError, match="--model is decided by the tables"):
        main([*FLAGS, "--model", "resnet110_cifar"])
