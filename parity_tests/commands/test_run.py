"""`python -m repro.run` from end to end, on a small trainer in NumPy that stands for a backend."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from parity_tests.support.image_folders import write_photos
from parity_tests.support.made_up import MODEL, QUICK, Backend, SoftmaxRegression, metrics
from parity_tests.support.runs import assert_equal_runs, assert_refused
from repro.plots.curves import draw_run
from repro.run import main
from repro.specs import find_spec
from repro.weights import safetensors_file
from repro.weights.init import initialise

pytestmark = pytest.mark.usefixtures("made_up_backend")
BIAS = np.where(np.arange(10) == 3, 1e6, 0).astype(np.float32)
STEPS_OF_EPOCH = 1433 // 256


def test_a_run_writes_its_folder(monkeypatch, capsys) -> None:
    monkeypatch.setattr("repro.plots.curves.draw_run", draw_run)  # which made_up_backend leaves out
    assert main([*QUICK, "--epochs", "3", "--seed", "4"]) == 0
    (folder,) = Path("runs").iterdir()
    assert folder.name.startswith(f"{MODEL}-torch-")
    assert sorted(path.name for path in folder.iterdir()) == [
        "best.safetensors", "class_indices.json", "config.yaml", "curves.png", "last", "metrics.jsonl", "summary.json",
    ]  # fmt: skip
    assert json.loads((folder / "class_indices.json").read_text()) == {str(digit): str(digit) for digit in range(10)}
    rows = metrics(folder)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert " ".join(rows[0]) == "epoch train_loss train_top1 train_top5 val_loss val_top1 val_top5 lr"
    assert rows[0]["lr"] == 0.02 and rows[1]["lr"] == pytest.approx(0.015)
    assert rows[2]["train_loss"] < rows[0]["train_loss"] and rows[2]["val_top1"] > 0.8  # the loop trains and counts
    summary = json.loads((folder / "summary.json").read_text())
    assert summary.pop("images_per_second") > 0 and summary.pop("seconds") > 0
    assert summary == {
        "model": MODEL, "backend": "torch", "framework_version": "1.0", "dataset": "digits", "epochs": 3,
        "train_images": 1433, "val_images": 364,
        "best_val_top1": max(row["val_top1"] for row in rows), "seed": 4,
    }  # fmt: skip
    assert Image.open(folder / "curves.png").size == (1200, 480)
    _, metadata = safetensors_file.load(folder / "best.safetensors")
    assert (metadata["model"], metadata["num_classes"], json.loads(metadata["classes"])[3]) == (MODEL, "10", "3")
    shown = capsys.readouterr()
    assert shown.err == "computing with 1 thread: set by OMP_NUM_THREADS\n"
    assert len(shown.out.splitlines()) == 5  # the headline, a line per epoch, the result


def test_the_ema_is_validated_and_saved_as_best(monkeypatch) -> None:
    """The trainer for validation receives the average after each epoch."""
    average = {"classifier.bias": BIAS}
    monkeypatch.setattr(SoftmaxRegression, "ema_weights", lambda self: self.weights() | average, raising=False)
    state = {f"ema/{name}": array for name, array in average.items()}
    monkeypatch.setattr(SoftmaxRegression, "state", lambda self: state)
    main([*QUICK, "--epochs", "2", "--ema-decay", "0.9", "--out", "a"])
    assert metrics("a")[1]["val_top1"] == pytest.approx(metrics("a")[0]["val_top1"])  # always the fourth class
    assert np.array_equal(safetensors_file.load("a/best.safetensors")[0]["classifier.bias"], BIAS)
    assert not np.array_equal(
        safetensors_file.load("a/last/checkpoint.safetensors")[0]["weights/classifier.bias"], BIAS
    )


def test_a_new_stage_continues_with_another_dropout_rate(monkeypatch) -> None:
    made: list[float] = []

    def create(spec):
        made.append(spec.dropout)
        return spec

    monkeypatch.setattr(Backend, "create_model", staticmethod(create))
    argv = [*QUICK, "--epochs", "4", "--stages", "2", "--first-stage", "dropout=0", "--first-stage", "image_size=8"]
    main([*argv, "--image-size", "16", "--option", "dropout=0.4", "--out", "a"])
    assert made == [0, 0.4]
    assert (
        safetensors_file.load("a/last/checkpoint.safetensors")[0]["weights/stem.norm.running_mean"][0]
        == 4 * STEPS_OF_EPOCH
    )
    velocity = safetensors_file.load("a/last/checkpoint.safetensors")[0]["optimizer/velocity/classifier.bias"]
    assert velocity.any()


def test_best_is_the_first_epoch_with_the_highest_accuracy(monkeypatch) -> None:
    main([*QUICK, "--epochs", "2", "--out", "a"])
    arrays, metadata = safetensors_file.load("a/best.safetensors")
    best = max(metrics("a"), key=lambda row: row["val_top1"])
    assert metadata["epoch"] == str(best["epoch"]) and metadata["val_top1"] == str(best["val_top1"])
    assert arrays["stem.norm.running_mean"][0] == best["epoch"] * 5  # 1433 images are 5 steps of 256


@pytest.mark.parametrize("viewer", ["tensorboard", "visualdl"])
def test_logs_for_viewers(viewer) -> None:
    main([*QUICK, "--epochs", "2", "--logs", viewer, "--out", "a"])
    written = b"".join(path.read_bytes() for path in Path("a/logs").iterdir())
    assert all(tag in written for tag in (b"loss/train", b"top1/val", b"top5/val", b"lr"))


def test_loading_processes_do_not_change_a_run() -> None:
    main([*QUICK, "--epochs", "1", "--out", "none"])
    main([*QUICK, "--epochs", "1", "--out", "one", "--workers", "1"])
    assert_equal_runs("none", "one")


def test_a_run_starts_from_the_weights_of_another() -> None:
    main([*QUICK, "--epochs", "1", "--out", "a"])
    main([*QUICK, "--epochs", "1", "--out", "b", "--weights", "a/best.safetensors"])
    assert safetensors_file.load("b/best.safetensors")[0]["stem.norm.running_mean"][0] == 10
    assert metrics("b")[0]["train_loss"] < metrics("a")[0]["train_loss"]


def test_a_fresh_head_for_other_classes(tmp_path) -> None:
    main([*QUICK, "--epochs", "1", "--out", "a"])
    for name in ("red", "blue"):
        Path("two", name).mkdir(parents=True)
        for index in range(5):
            Image.new("RGB", (8, 8), name).save(Path("two", name, f"{index}.png"))
    argv = [*QUICK, "--data", "two", "--weights", "a/best.safetensors", "--epochs", "1", "--lr", "1e-9"]
    assert_refused(main, [*argv, "--out", "b"], "distinguishes 10 classes, but two has 2.*--fresh-head true")
    main([*argv, "--fresh-head", "true", "--out", "b"])
    before, after = (safetensors_file.load(f"{run}/best.safetensors")[0] for run in "ab")
    assert after["classifier.weight"].shape == (2, 1280)
    fresh = initialise(find_spec(MODEL, num_classes=2), 0)
    assert np.abs(after["classifier.weight"] - fresh["classifier.weight"]).max() < 1e-6
    same = [name for name in before if np.array_equal(before[name], after[name])]
    assert len(same) == len(before) - 3  # the two arrays of the head, and the statistic that counts steps


def test_flags_override_a_recipe_file() -> None:
    Path("r.yaml").write_text(f"model: {MODEL}\nimage_size: 8\nbatch_size: 256\nepochs: 9\nlr: 0.02\n")
    main(["--backend", "torch", "--config", "r.yaml", "--epochs", "1", "--out", "a"])
    assert len(metrics("a")) == 1 and "image_size: 8\n" in Path("a/config.yaml").read_text()


def test_fewer_than_five_classes() -> None:
    write_photos("photos")
    main([*QUICK, "--data", "photos", "--epochs", "1", "--out", "a"])
    assert metrics("a")[0]["val_top5"] == 1.0
    assert json.loads(Path("a/summary.json").read_text())["dataset"] == "photos"


def test_runs_without_out_get_different_folders() -> None:
    main([*QUICK, "--epochs", "1"])
    main([*QUICK, "--epochs", "1"])
    assert len(list(Path("runs").iterdir())) == 2


def test_help_imports_no_heavy_package() -> None:
    command = [sys.executable, "-m", "parity_tests.programs.loaded_modules", "repro.run", "--", "--help"]
    root = Path(__file__).parents[2]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    heavy = {"numpy", "yaml", "tqdm", "matplotlib", "PIL", "sklearn", "torch", "paddle", "mindspore"}
    assert not heavy & set(result.stdout.splitlines()[-1].split())
    assert "--weight-decay" in result.stdout
