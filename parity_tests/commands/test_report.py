"""Tests of repro.report and repro.evaluation.run_report, on runs of the made-up backend."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from parity_tests.support.image_folders import write_photos
from parity_tests.support.made_up import QUICK
from parity_tests.support.runs import assert_refused
from repro import report
from repro.data import Subset, open_dataset
from repro.evaluation.run_report import mistake_sheet
from repro.run import main as train
from repro.weights import safetensors_file

pytestmark = pytest.mark.usefixtures("finished_runs")


def test_metrics_of_every_class(capsys: pytest.CaptureFixture[str]) -> None:
    Path("runs/short/report").mkdir()
    Path("runs/short/report/old").touch()  # an earlier report, which is replaced
    capsys.readouterr()
    assert report.main(["runs/short"]) == 0
    folder = Path("runs/short/report")
    assert sorted(path.name for path in folder.iterdir()) == [
        "classes.json", "classes.txt", "confusion.png", "mistakes.png", "probabilities.csv",
    ]  # fmt: skip
    out = capsys.readouterr().out
    assert (folder / "classes.txt").read_text() in out
    rows = list(csv.DictReader((folder / "probabilities.csv").read_text().splitlines()))
    dataset = open_dataset("digits")
    assert [row["file"] for row in rows] == list(dataset.val.names)
    assert [row["true"] for row in rows] == [str(label) for label in dataset.val.labels]
    correct = [row["true"] == row["class"] for row in rows]
    top1 = json.loads(Path("runs/short/metrics.jsonl").read_text())["val_top1"]
    assert 0.1 < top1 < 1 and np.mean(correct) == top1  # the same images and weights as in the run
    summary = f"top-1 {top1:.2%} of 364 images on torch; during training, on torch, it was {top1:.2%} in epoch 1; "
    assert f"{summary}report written to runs/short/report" in out
    metrics = json.loads((folder / "classes.json").read_text())
    assert metrics["accuracy"] == top1 and list(metrics)[:10] == list("0123456789")
    for digit in "07":
        predicted = [row for row in rows if row["class"] == digit]
        support = [row for row in rows if row["true"] == digit]
        true_positives = sum(row["true"] == digit for row in predicted)
        assert metrics[digit]["precision"] == pytest.approx(true_positives / len(predicted))
        assert metrics[digit]["recall"] == pytest.approx(true_positives / len(support))
        assert metrics[digit]["support"] == len(support)


def test_without_mistakes_there_is_no_sheet_of_them() -> None:
    write_photos("photos")
    train([*QUICK, "--data", "photos", "--epochs", "1", "--out", "a"])
    arrays, metadata = safetensors_file.load("a/best.safetensors")
    arrays["classifier.weight"] = np.zeros((3, 1280), np.float32)
    arrays["classifier.weight"][[1, 2], [0, 0]] = 1, 2  # by the first pixel's red, which is 0, 60 or 120 of 255
    arrays["classifier.bias"] = np.array([0, 0.8, 1.2], np.float32)
    safetensors_file.save("a/best.safetensors", arrays, metadata)
    assert report.main(["a"]) == 0
    assert json.loads(Path("a/report/classes.json").read_text())["accuracy"] == 1
    assert Path("a/report/confusion.png").is_file() and not Path("a/report/mistakes.png").exists()


def test_the_sheet_shows_the_most_confident_mistakes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    captions = []

    def captioned(image: Image.Image, lines: Sequence[str], side: int) -> Image.Image:
        captions.append((image, lines))
        return image

    monkeypatch.setattr("repro.evaluation.run_report.captioned", captioned)
    images = {name: Image.new("RGB", (4, 4), color) for name, color in (("a", 1), ("b", 2), ("c", 3))}

    def read(name: str, divisor: object = None) -> Image.Image:
        return images[name]

    part = Subset(("a", "b", "c"), np.array([0, 0, 1]), read)
    probabilities = np.array([[0.4, 0.6, 0.0], [0.9, 0.1, 0.0], [0.03, 0.07, 0.9]])
    assert mistake_sheet(part, probabilities, ["cat", "dog", "eel"]) is not None
    assert captions == [
        (images["c"], ["predicted 90.0% eel", "true 7.0% dog"]),
        (images["a"], ["predicted 60.0% dog", "true 40.0% cat"]),
    ]
    assert mistake_sheet(part, np.eye(3)[[0, 0, 1]], ["cat", "dog", "eel"]) is None
    many = Subset(("a",) * 30, np.zeros(30, np.int64), read)
    paper = mistake_sheet(many, np.tile([0.2, 0.8], (30, 1)), ["cat", "dog"])
    assert paper is not None and paper.size == (80, 56)  # 24 in 6 columns


def test_other_data_and_other_folders_are_refused() -> None:
    write_photos("photos")
    train([*QUICK, "--data", "photos", "--epochs", "1", "--out", "a"])
    Path("photos").rename("moved")
    assert_refused(report.main, ["a"], "no such folder: photos")
    shutil.copytree("moved", "fewer")
    Path("fewer/b/1.png").unlink()
    assert_refused(report.main, ["a", "--data", "fewer"], "fewer does not contain the images that a was trained on")
    assert_refused(report.main, ["moved"], "moved is not a run folder")
    assert report.main(["a", "--data", "moved"]) == 0
    shutil.copy("runs/short/best.safetensors", "a/best.safetensors")
    message = "a/best.safetensors distinguishes 10 classes, but moved has 3"
    assert_refused(report.main, ["a", "--data", "moved"], message)
    Path("a/best.safetensors").unlink()
    assert_refused(report.main, ["a", "--data", "moved"], "no such file: a/best.safetensors")
    Path("a/last/checkpoint.safetensors").write_bytes(b"no")
    assert_refused(report.main, ["a", "--data", "moved"], "not a complete safetensors file")


def test_an_unreadable_image_leaves_the_earlier_report() -> None:
    write_photos("photos")
    train([*QUICK, "--data", "photos", "--epochs", "1", "--out", "a"])
    report.main(["a"])
    Path("photos/a/0.png").write_bytes(b"no image")  # the first image of a class validates
    assert_refused(report.main, ["a"], "cannot read photos/a/0.png")


def test_a_full_disk_leaves_the_earlier_report(monkeypatch: pytest.MonkeyPatch) -> None:
    report.main(["runs/short"])
    full = OSError(28, "No space left")

    def fail(*_: object) -> None:
        raise full

    with monkeypatch.context() as patch:
        patch.setattr("repro.evaluation.run_report.draw_confusion_matrix", fail)
        assert_refused(report.main, ["runs/short"], "cannot write runs/short/report: No space left")
    assert Path("runs/short/report/confusion.png").is_file()
    Path("runs/short/report/old").touch()
    rename = Path.rename

    def until_full(self: Path, target: Path) -> Path:
        if self.name == f".report.{os.getpid()}":
            raise full
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", until_full)
    assert_refused(report.main, ["runs/short"], "cannot write runs/short/report: No space left")
    assert Path("runs/short/report/old").is_file() and not list(Path("runs/short").glob(".report*"))
