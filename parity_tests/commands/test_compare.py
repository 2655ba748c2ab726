"""Tests of repro.compare and repro.evaluation.run_comparison, on runs of the made-up backend."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from parity_tests.support.made_up import MODEL, QUICK
from parity_tests.support.runs import assert_refused
from repro import compare
from repro.run import main as train
from repro.weights import safetensors_file

pytestmark = pytest.mark.usefixtures("finished_runs")


def compared(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """Return what the command prints."""
    capsys.readouterr()
    assert compare.main(list(argv)) == 0
    return capsys.readouterr().out


def test_results_recipes_and_divergence(capsys: pytest.CaptureFixture[str]) -> None:
    lines = compared(capsys, "runs/long", "runs/short", "runs/other", "--out", "c.png").splitlines()
    assert lines[0].split() == ["model", "backend", "epochs", "best", "top-1", "images/s", "seconds"]
    summary = json.loads(Path("runs/long/summary.json").read_text())
    assert lines[1].split()[:5] == ["long", MODEL, "torch", "3/3", f"{summary['best_val_top1']:.2%}"]
    assert lines[1].split()[5] == f"{summary['images_per_second']:,.1f}"
    assert [line.split() for line in lines[5:8]] == [
        ["recipe", "long", "short", "other"], ["epochs", "3", "1", "1"], ["seed", "0", "0", "1"],
    ]  # fmt: skip
    assert lines[9] == "short and long: up to epoch 1, all metrics are bit-identical"
    assert lines[10].startswith("other and long: they diverge in epoch 1: training losses ")
    assert Image.open("c.png").size == (1000, 440)


def scale_metrics(run: str, epoch: int, **factors: float) -> None:
    """Multiply metrics of one epoch of a run by the given factors."""
    path = f"{run}/last/checkpoint.safetensors"
    arrays, metadata = safetensors_file.load(path)
    progress = json.loads(metadata["progress"])
    for name, factor in factors.items():
        progress["history"][epoch - 1][name] *= factor
    copies = {name: np.array(array) for name, array in arrays.items()}  # the file that is mapped is overwritten
    safetensors_file.save(path, copies, metadata | {"progress": json.dumps(progress)})


def test_divergence_is_told_from_rounding(capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree("runs/long", "b")
    out = compared(capsys, "runs/long", "b")
    assert "the recipes are identical" in out
    assert "b and runs/long: up to epoch 3, all metrics are bit-identical" in out
    scale_metrics("b", 3, val_loss=2, seconds=7)
    assert "up to epoch 3, training losses are bit-identical" in compared(capsys, "runs/long", "b")
    scale_metrics("b", 1, train_loss=1 + 5e-5)
    assert "training losses differ by rounding, at most 5.0e-05 (relative)" in compared(capsys, "runs/long", "b")
    scale_metrics("b", 2, train_loss=1.25)
    assert "they diverge in epoch 2: training losses " in compared(capsys, "runs/long", "b")
    assert compared(capsys, "runs/long", "b").rstrip().endswith(" differ by 20.00%")


def test_different_data_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    train([*QUICK, "--split", "0.2", "--epochs", "1", "--out", "b"])
    assert "; the runs were trained on different data" in compared(capsys, "runs/short", "b")
    assert "different data" not in compared(capsys, "runs/short", "runs/other")


def test_many_runs_are_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    compared(capsys, *["runs/short"] * 12, "--out", "c.png")
    assert Image.open("c.png").size == (1000, 440)


def test_bad_input_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty").mkdir()
    assert_refused(compare.main, ["runs/long", "empty"], "empty is not a run folder")
    assert_refused(compare.main, ["runs/long", "nowhere"], "nowhere is not a run folder")
    assert_refused(
        compare.main, ["runs/long", "runs/short", "--out", "c.jpg"], "--out c.jpg: the curves are written as"
    )
    assert_refused(compare.main, ["runs/long", "runs/short", "--out", "nowhere/c.png"], "cannot write nowhere/c.png")
    path = "runs/short/last/checkpoint.safetensors"
    arrays, metadata = safetensors_file.load("runs/other/last/checkpoint.safetensors")
    for text, message in (
        (json.dumps(json.loads(metadata["progress"]) | {"history": []}), "runs/short has no finished epoch yet"),
        ("{}", "was not written by a training run"),
        ("no JSON", "was not written by a training run"),
    ):
        safetensors_file.save(path, arrays, metadata | {"progress": text})
        assert_refused(compare.main, ["runs/long", "runs/short"], message)
    with pytest.raises(SystemExit):
        compare.main(["runs/long"])
    assert "give at least two run folders" in capsys.readouterr().err
