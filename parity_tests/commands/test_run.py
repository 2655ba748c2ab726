"""`python -m repro.run` from end to end, on a small trainer in NumPy that stands for a backend."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from parity_tests.support.image_folders import write_photos
from parity_tests.support.made_up import MODEL, QUICK, Backend, SoftmaxRegression, metrics
from repro.cli import run_command
from repro.data import open_dataset
from repro.errors import ReproError
from repro.run import main
from repro.specs import find_spec
from repro.weights import safetensors_file
from repro.weights.formats import native_names, write_file
from repro.weights.init import initialise
from repro.weights.layouts import layout_named

pytestmark = pytest.mark.usefixtures("made_up_backend")
START = initialise(find_spec(MODEL, num_classes=10), 0)
BIAS = np.where(np.arange(10) == 3, 1e6, 0).astype(np.float32)
STEPS_OF_EPOCH = 1433 // 256


def stop_at(monkeypatch, step, what):
    monkeypatch.setattr(SoftmaxRegression, "stop", (step, what))
    monkeypatch.setattr(SoftmaxRegression, "steps_taken", 0)


def assert_equal_runs(a, b):
    for name in ("best.safetensors", "last/checkpoint.safetensors"):
        (arrays, meta), (others, other_meta) = (
            safetensors_file.load(Path(a, name)),
            safetensors_file.load(Path(b, name)),
        )
        assert arrays.keys() == others.keys()
        assert all(np.array_equal(array, others[key]) for key, array in arrays.items())
        assert {**meta, "progress": 0} == {**other_meta, "progress": 0}
    assert metrics(a) == metrics(b)


def test_a_run_leaves_its_folder(capsys) -> None:
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
    assert shown.err == "" and len(shown.out.splitlines()) == 5  # what is trained, an epoch each, the end


def test_averages_are_what_is_validated_and_kept(monkeypatch) -> None:
    """Of another trainer, which is given them after each epoch."""
    monkeypatch.setattr(SoftmaxRegression, "ema_weights", lambda self: START | {"classifier.bias": BIAS}, raising=False)
    main([*QUICK, "--epochs", "2", "--ema-decay", "0.9", "--out", "a"])
    assert metrics("a")[1]["val_top1"] == pytest.approx(metrics("a")[0]["val_top1"])  # always the fourth class
    assert np.array_equal(safetensors_file.load("a/best.safetensors")[0]["classifier.bias"], BIAS)
    assert not np.array_equal(
        safetensors_file.load("a/last/checkpoint.safetensors")[0]["weights/classifier.bias"], BIAS
    )


def test_a_new_stage_goes_on_with_a_network_of_another_dropout(monkeypatch) -> None:
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


def test_a_fresh_head_is_for_other_classes(tmp_path) -> None:
    main([*QUICK, "--epochs", "1", "--out", "a"])
    for name in ("red", "blue"):
        Path("two", name).mkdir(parents=True)
        for index in range(5):
            Image.new("RGB", (8, 8), name).save(Path("two", name, f"{index}.png"))
    argv = [*QUICK, "--data", "two", "--weights", "a/best.safetensors", "--epochs", "1", "--lr", "1e-9"]
    fails([*argv, "--out", "b"], "distinguishes 10 classes, but two has 2.*--fresh-head true")
    main([*argv, "--fresh-head", "true", "--out", "b"])
    before, after = (safetensors_file.load(f"{run}/best.safetensors")[0] for run in "ab")
    assert after["classifier.weight"].shape == (2, 1280)
    fresh = initialise(find_spec(MODEL, num_classes=2), 0)
    assert np.abs(after["classifier.weight"] - fresh["classifier.weight"]).max() < 1e-6
    same = [name for name in before if np.array_equal(before[name], after[name])]
    assert len(same) == len(before) - 3  # of the head both, and the statistic that counts steps


@pytest.mark.parametrize("viewer", ["tensorboard", "visualdl"])
def test_logs_for_viewers(viewer) -> None:
    main([*QUICK, "--epochs", "2", "--logs", viewer, "--out", "a"])
    written = b"".join(path.read_bytes() for path in Path("a/logs").iterdir())
    assert all(tag in written for tag in (b"loss/train", b"top1/val", b"top5/val", b"lr"))


def test_a_viewer_that_is_not_installed_is_told_of_first(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "visualdl", None)
    fails([*QUICK, "--logs", "visualdl", "--out", "a"], "--logs visualdl needs visualdl .*install it with")
    assert not Path("a").exists()


def test_best_is_the_first_of_the_highest(monkeypatch) -> None:
    main([*QUICK, "--epochs", "2", "--out", "a"])
    arrays, metadata = safetensors_file.load("a/best.safetensors")
    best = max(metrics("a"), key=lambda row: row["val_top1"])
    assert metadata["epoch"] == str(best["epoch"]) and metadata["val_top1"] == str(best["val_top1"])
    assert arrays["stem.norm.running_mean"][0] == best["epoch"] * 5  # 1433 images are 5 steps of 256


@pytest.mark.parametrize("step", [2, 13])  # in the first epoch, and in the third
def test_a_resumed_run_ends_like_one_that_never_stopped(monkeypatch, capsys, step) -> None:
    main([*QUICK, "--epochs", "4", "--rotation", "10", "--out", "whole"])
    stop_at(monkeypatch, step, lambda trainer: signal.raise_signal(signal.SIGINT))
    with pytest.raises(SystemExit) as end:
        run_command(lambda: main([*QUICK, "--epochs", "4", "--rotation", "10", "--out", "parts"]))
    assert end.value.code == 130
    error = capsys.readouterr().err
    assert f"{(step - 1) // 5} of 4 epochs are saved; resume with: python -m repro.run --resume --out parts" in error
    assert "Traceback" not in error and not Path("parts/summary.json").exists()
    main(["--resume", "--out", "parts"])
    assert_equal_runs("whole", "parts")
    assert Path("parts/config.yaml").read_text() == Path("whole/config.yaml").read_text()


def test_workers_change_nothing() -> None:
    main([*QUICK, "--epochs", "1", "--out", "none"])
    main([*QUICK, "--epochs", "1", "--out", "one", "--workers", "1"])
    assert_equal_runs("none", "one")


def test_a_finished_run_can_be_resumed_and_stays_as_it_is(capsys) -> None:
    main([*QUICK, "--epochs", "1", "--out", "a"])
    before = {path: path.read_bytes() for path in Path("a").rglob("*") if path.is_file()}
    main(["--resume", "--out", "a", "--backend", "paddle"])  # weights and optimizer pass between backends
    after = {path: path.read_bytes() for path in Path("a").rglob("*") if path.is_file()}
    assert [path.name for path in after if after[path] != before[path]] == ["summary.json"]


def test_a_finished_run_of_stages_can_be_resumed() -> None:
    """There is no stage after the last, in which more than everything would be dropped."""
    stages = ["--epochs", "2", "--stages", "2", "--first-stage", "dropout=0", "--option", "dropout=0.6"]
    main([*QUICK, *stages, "--out", "a"])
    main(["--resume", "--out", "a"])


@pytest.mark.parametrize("name", ["x" * 300, "locked/images"])
def test_a_path_that_cannot_be_looked_at_is_one_line(name, monkeypatch, capsys) -> None:
    stat = os.stat

    def refuse(path, *args, **options):  # as a folder of somebody else's does, if one is not root
        if str(path).startswith("locked"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return stat(path, *args, **options)

    monkeypatch.setattr(os, "stat", refuse)
    with pytest.raises(SystemExit) as end:
        run_command(lambda: main([*QUICK, "--data", name, "--out", "a"]))
    assert end.value.code == 1 and not Path("a").exists()
    error = capsys.readouterr().err
    assert error.startswith(f"error: cannot use {name}: ") and error.endswith("; give another path\n")


def test_weights_of_a_run_start_another() -> None:
    main([*QUICK, "--epochs", "1", "--out", "a"])
    main([*QUICK, "--epochs", "1", "--out", "b", "--weights", "a/best.safetensors"])
    assert safetensors_file.load("b/best.safetensors")[0]["stem.norm.running_mean"][0] == 10
    assert metrics("b")[0]["train_loss"] < metrics("a")[0]["train_loss"]


def test_a_config_is_read_and_flags_win() -> None:
    Path("r.yaml").write_text(f"model: {MODEL}\nimage_size: 8\nbatch_size: 256\nepochs: 9\nlr: 0.02\n")
    main(["--backend", "torch", "--config", "r.yaml", "--epochs", "1", "--out", "a"])
    assert len(metrics("a")) == 1 and "image_size: 8\n" in Path("a/config.yaml").read_text()


def test_a_folder_of_fewer_classes_than_five() -> None:
    write_photos("photos")
    main([*QUICK, "--data", "photos", "--epochs", "1", "--out", "a"])
    assert metrics("a")[0]["val_top5"] == 1.0
    assert json.loads(Path("a/summary.json").read_text())["dataset"] == "photos"


DIVERGED = (
    r"the loss became nan at step 3 of epoch 2, on \d{4}, \d{4}, \d{4}, ... \(all 256 in a/diverged.txt; "
    r"a/last/checkpoint.safetensors holds epoch 1\); start again with a smaller --lr"
)


def test_it_stops_when_the_loss_is_no_number(monkeypatch) -> None:
    def spoil(trainer):
        trainer.arrays["classifier.bias"][0] = np.nan

    stop_at(monkeypatch, 8, spoil)
    with pytest.raises(ReproError, match=DIVERGED):
        main([*QUICK, "--out", "a"])
    assert all(np.isfinite(array).all() for array in safetensors_file.load("a/last/checkpoint.safetensors")[0].values())
    names = Path("a/diverged.txt").read_text().split()
    assert len(set(names)) == 256 and set(names) <= set(open_dataset("digits").train.names)


def fails(argv, message):
    with pytest.raises(ReproError, match=message) as error:
        main(argv)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--model", "asymnet_smal"], "unknown model 'asymnet_smal': did you mean asymmnet_small"),
        (["--backend", "troch"], "unknown backend 'troch': did you mean torch"),
        (["--option", "widht=2"], "unknown option of .* 'widht': did you mean width"),
        (["--option", "num_classes=3"], "the option num_classes follows from"),
        (["--option", "name=3"], "the option name follows from"),
        (["--option", "dropout=much"], "dropout must be at least 0 and below 1, not 'much'"),
        (["--model", "vgg16", "--image-size", "31"], "vgg16 takes images of at least 32 pixels, not 31"),
        (["--data", "nowhere"], "nowhere"),
        (["--data", "empty"], "empty"),
        (["--data", "broken"], "broken"),
        (["--weights", "nowhere.safetensors"], "nowhere.safetensors"),
        (["--config", "nowhere.yaml"], "no such file: nowhere.yaml; unknown recipe 'nowhere'"),
        (["--out", "full"], "full already exists; give another --out"),
        (["--out", "full/file"], "full/file already exists"),
        (["--out", "full/file/a"], "full/file/a"),
        (["--resume"], "give --out"),
        (["--resume", "--out", "full"], "full is not a run folder"),
        (["--resume", "--out", "nowhere"], "nowhere is not a run folder"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(argv, message) -> None:
    Path("empty").mkdir()
    write_photos("broken")
    Path("broken/a/1.png").write_bytes(b"no image")
    Path("full").mkdir()
    Path("full/file").touch()
    before = set(Path().rglob("*"))
    fails([*QUICK, *argv], message)
    assert set(Path().rglob("*")) == before


def test_weights_of_other_classes_are_refused() -> None:
    main([*QUICK, "--epochs", "1", "--out", "a"])
    write_photos("photos")
    fails(
        [*QUICK, "--data", "photos", "--weights", "a/best.safetensors", "--out", "b"],
        "distinguishes 10 classes, but photos has 3",
    )
    assert not Path("b").exists()


def test_weights_of_another_epsilon_are_refused() -> None:
    """timm's MobileNetV3 normalises with 1e-5, torchvision's and ours with 1e-3; the arrays do not show it."""
    spec = find_spec("mobilenet_v3_large", num_classes=10)
    published = layout_named("timm", spec).to_published(initialise(spec, 0), spec, native_names("torch"))
    write_file(Path("timm.pth"), published, {})
    arguments = [*QUICK, "--model", "mobilenet_v3_large", "--epochs", "1", "--weights", "timm.pth"]
    fails([*arguments, "--out", "a"], "epsilon of 1e-05, not 0.001; add --option norm_eps=1e-05")
    main([*arguments, "--option", "norm_eps=1e-05", "--out", "b"])
    assert Path("b/summary.json").is_file()


def test_a_changed_value_or_other_images_cannot_be_resumed() -> None:
    write_photos("photos")
    main([*QUICK, "--data", "photos", "--epochs", "1", "--out", "a"])
    fails(
        ["--resume", "--out", "a", "--epochs", "2"], r"epochs cannot change from 1 to 2 .* --weights a/best.safetensors"
    )
    fails(["--resume", "--out", "a", "--option", "width=2"], "options cannot change")
    Path("photos/a/0.png").unlink()
    fails(["--resume", "--out", "a"], "photos does not hold the images that a was trained on")
    Path("a/last/checkpoint.safetensors").unlink()
    fails(["--resume", "--out", "a"], "no such file: a/last/checkpoint.safetensors")


def test_a_disk_that_is_full_from_the_start_leaves_no_folder() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # config.yaml fits, the weights do not
    try:
        fails([*QUICK, "--out", "a"], "cannot write a/last/checkpoint.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not Path("a").exists()


def test_what_a_killed_run_left_half_written_goes() -> None:
    main([*QUICK, "--epochs", "2", "--out", "a"])
    mine = [Path("a/.notes.12345678"), Path("a/last/notes")]
    halves = [Path("a/last/.checkpoint.safetensors.abcd_123"), Path("a/.curves.png.x1234567")]
    for file in mine + halves:
        file.touch()
    main(["--resume", "--out", "a"])
    assert all(file.exists() for file in mine) and not any(file.exists() for file in halves)


def test_it_stops_when_the_validation_is_no_number(monkeypatch) -> None:
    monkeypatch.setattr(SoftmaxRegression, "predict", lambda self, images: np.full((len(images), 10), np.nan))
    with pytest.raises(ReproError) as error:
        main([*QUICK, "--out", "a"])
    assert str(error.value).startswith("the validation loss became nan after the last step of epoch 1, on ")
    assert str(error.value).endswith(
        "(all 256 in a/diverged.txt; a/last/checkpoint.safetensors holds the weights it began with); "
        "start again with a smaller --lr"
    )
    assert len(Path("a/diverged.txt").read_text().splitlines()) == 256


def test_of_two_runs_in_one_folder_the_second_ends(monkeypatch) -> None:
    """Both found it free."""
    main([*QUICK, "--epochs", "1", "--out", "a"])
    kept = {path: path.read_bytes() for path in Path("a").rglob("*") if path.is_file()}
    monkeypatch.setattr("repro.training.session.new_folder", lambda out, recipe: Path(out))
    fails([*QUICK, "--epochs", "1", "--seed", "1", "--out", "a"], "a already exists; give another --out")
    assert {path: path.read_bytes() for path in Path("a").rglob("*") if path.is_file()} == kept


def test_runs_without_a_name_have_folders_of_their_own() -> None:
    main([*QUICK, "--epochs", "1"])
    main([*QUICK, "--epochs", "1"])
    assert len(list(Path("runs").iterdir())) == 2


def test_a_disk_that_fills_up_keeps_the_epoch_before(monkeypatch) -> None:
    main([*QUICK, "--epochs", "3", "--out", "whole"])
    replace, count = Path.replace, 0

    def until_full(self, target):
        nonlocal count
        count += Path(target).name == "checkpoint.safetensors"
        if count == 3:  # the fresh weights are the first
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", until_full)
    fails([*QUICK, "--epochs", "3", "--out", "parts"], "cannot write parts/last/checkpoint.safetensors: No space left")
    assert [path.name for path in Path("parts/last").iterdir()] == ["checkpoint.safetensors"]
    monkeypatch.setattr(Path, "replace", replace)
    main(["--resume", "--out", "parts"])
    assert_equal_runs("whole", "parts")


@pytest.mark.parametrize("shadow", ["backends/torch/__init__.py", "backends.py"])
def test_a_module_that_shadows_the_backends_is_named(tmp_path, shadow) -> None:
    for file in ("backends/__init__.py", shadow) if "/" in shadow else (shadow,):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    command = [sys.executable, "-m", "repro.run", *QUICK, "--epochs", "1", "--out", "a"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 1 and not (tmp_path / "a").exists()
    name = tmp_path / ("backends" if "/" in shadow else "backends.py")
    assert run.stderr.startswith(
        f"error: backends.torch cannot be imported, because {name} shadows the package backends"
    )
    assert run.stderr.count("\n") == 1


def test_help_is_light() -> None:
    script = (
        "import sys, repro.run\n"
        "try: repro.run.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'yaml', 'tqdm', 'matplotlib', 'PIL', 'sklearn', 'torch', 'paddle', 'mindspore'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    root = Path(__file__).parents[2]
    result = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "--weight-decay" in result.stdout
