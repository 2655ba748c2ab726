"""The tables of arXiv:1603.05027, from runs with a made-up backend."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from parity_tests.support.made_up import SoftmaxRegression
from repro.ablation import PREFIX, TABLES, main
from repro.errors import ReproError
from repro.specs import find_spec

pytestmark = pytest.mark.usefixtures("made_up_backend")
FLAGS = ["--backend", "torch", "--option", "depth=8", "--image-size", "8", "--batch-size", "256", "--out", "swept"]


def test_every_unit_is_trained_once_and_stands_beside_the_paper(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(SoftmaxRegression, "features", lambda self, images: images.reshape(len(images), -1)[:, :64])
    main([*FLAGS, "--epochs", "1"])
    printed = capsys.readouterr().out
    names = {PREFIX + ending for rows in TABLES.values() for ending, _, _ in rows}
    assert {path.name for path in Path("swept").iterdir()} == names and len(names) == 11
    assert printed.count("  paper") == 2 and "full pre-activation" in printed and " 6.37" in printed
    best = json.loads(Path(f"swept/{PREFIX}_full_preact/summary.json").read_text())["best_val_top1"]
    (line,) = [line for line in printed.splitlines() if line.startswith("full pre-activation")]
    assert line.split()[-2:] == [f"{100 * (1 - best):.2f}", "6.37"]
    taken = SoftmaxRegression.steps_taken
    main([*FLAGS, "--epochs", "1"])
    assert SoftmaxRegression.steps_taken == taken
    assert printed.endswith(capsys.readouterr().out)
    for other in (
        ["--epochs", "2"],
        ["--epochs", "1", "--backend", "paddle"],
        ["--epochs", "1", "--option", "depth=14"],
    ):
        with pytest.raises(ReproError, match=f"swept/{PREFIX} holds a run whose (epochs|backend|options) is .*; give"):
            main([*FLAGS, "--epochs", "1", *other])
    Path(f"swept/{PREFIX}/summary.json").unlink()
    with pytest.raises(ReproError, match="holds a run whose seed is 0, not 1; give another --out"):
        main([*FLAGS, "--epochs", "1", "--seed", "1"])
    main([*FLAGS, "--epochs", "1"])
    assert SoftmaxRegression.steps_taken == taken and Path(f"swept/{PREFIX}/summary.json").exists()


def test_a_unit_that_diverges_fails_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def spoil(trainer: SoftmaxRegression) -> None:
        trainer.arrays["classifier.bias"][0] = np.nan

    monkeypatch.setattr(SoftmaxRegression, "features", lambda self, images: images.reshape(len(images), -1)[:, :64])
    monkeypatch.setattr(SoftmaxRegression, "stop", (8, spoil))  # of the second unit, each of which takes 5 steps
    monkeypatch.setattr(SoftmaxRegression, "steps_taken", 0)
    main([*FLAGS, "--epochs", "1"])
    printed = capsys.readouterr()
    assert "constant scaling, 0.5 and 0.5     fail  12.35" in printed.out and printed.out.count("  fail  ") == 1
    assert f"{PREFIX}_scaled: the loss became nan at step 3 of epoch 1" in printed.err
    taken = SoftmaxRegression.steps_taken
    main([*FLAGS, "--epochs", "1"])  # nor is it tried again
    assert SoftmaxRegression.steps_taken == taken and printed.out.endswith(capsys.readouterr().out)


def test_what_is_no_run_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    note = Path(f"swept/{PREFIX}/notes.txt")
    note.parent.mkdir(parents=True)
    note.touch()
    with pytest.raises(ReproError, match=f"swept/{PREFIX} is there already"):
        main([*FLAGS, "--epochs", "1"])
    assert note.exists() and len(list(Path("swept").rglob("*"))) == 2


def test_the_units_are_those_of_the_catalogue() -> None:
    for rows in TABLES.values():
        assert all(find_spec(PREFIX + ending).family == "resnet_cifar" for ending, _, _ in rows)


def test_several_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would look for what another is writing."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(ReproError, match="a sweep trains in one process"):
        main([*FLAGS, "--epochs", "1"])
    assert not Path("swept").exists()


def test_a_model_is_refused() -> None:
    with pytest.raises(ReproError, match="--model follows from the tables"):
        main([*FLAGS, "--model", "resnet110_cifar"])
