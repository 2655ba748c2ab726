"""`python -m repro.run --resume`: interrupted, killed and finished runs."""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

from parity_tests.support.image_folders import write_photos
from parity_tests.support.made_up import QUICK, SoftmaxRegression, metrics
from parity_tests.support.runs import assert_equal_runs, assert_refused, stop_at
from repro.cli import run_command
from repro.data import fast_resize
from repro.errors import ReproError
from repro.run import main
from repro.training.run_writer import RunFolder
from repro.weights import safetensors_file

pytestmark = pytest.mark.usefixtures("made_up_backend")


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


@pytest.mark.slow
@pytest.mark.parametrize(("step", "workers"), [(2, "0"), (6, "0"), (13, "1")])  # 6: the first step of an epoch
def test_a_run_resumes_in_the_middle_of_an_epoch(monkeypatch, capsys, step, workers) -> None:
    argv = [*QUICK, "--epochs", "3", "--checkpoint-steps", "1", "--rotation", "10", "--workers", workers]
    main([*argv, "--out", "whole"])
    stop_at(monkeypatch, step, lambda trainer: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt) as end:
        main([*argv, "--out", "parts"])
    epoch, steps = divmod(step - 1, 5)
    assert f"{epoch} of 3 epochs{f' and {steps} steps' if steps else ''} are saved" in str(end.value)
    SoftmaxRegression.steps_taken = 0
    monkeypatch.setattr(SoftmaxRegression, "stop", None)
    main(["--resume", "--out", "parts"])
    assert SoftmaxRegression.steps_taken == 15 - (step - 1)
    assert_equal_runs("whole", "parts")


@pytest.mark.slow
def test_a_run_that_is_stopped_at_every_step_ends_like_one_that_never_stopped(monkeypatch) -> None:
    argv = [*QUICK, "--epochs", "3", "--checkpoint-steps", "2"]
    main([*argv, "--out", "whole"])
    stops = 0
    resume = [*argv, "--out", "parts"]
    while True:
        stop_at(monkeypatch, 4, lambda trainer: signal.raise_signal(signal.SIGINT))  # saved: 2 steps more
        try:
            main(resume)
            break
        except KeyboardInterrupt:
            stops += 1
            resume = ["--resume", "--out", "parts"]
    assert stops == 5
    assert_equal_runs("whole", "parts")
    assert json.loads(Path("parts/summary.json").read_text())["epochs"] == 3


def test_checkpoints_by_time(monkeypatch) -> None:
    """The clock goes on by 30 seconds at each look."""
    saved: list[tuple[int, int]] = []
    write = RunFolder._write_checkpoint

    def record(self, recipe, checkpoint) -> None:
        saved.append((checkpoint.progress.epoch, checkpoint.progress.partial.step))
        write(self, recipe, checkpoint)

    ticks = itertools.count(0, 30)
    monkeypatch.setattr("repro.training.loop.time.monotonic", lambda: float(next(ticks)))
    monkeypatch.setattr(RunFolder, "_write_checkpoint", record)
    main([*QUICK, "--epochs", "2", "--checkpoint-minutes", "1", "--out", "a"])
    assert saved == [(0, 0), (0, 2), (0, 4), (1, 0), (1, 2), (1, 4), (2, 0)]


def test_the_last_checkpoints_are_kept_and_a_run_resumes_from_each(monkeypatch) -> None:
    argv = [*QUICK, "--epochs", "2", "--checkpoint-steps", "2", "--keep", "3"]
    main([*argv, "--out", "whole"])
    names = ["epoch-0001-step-000002", "epoch-0001-step-000004", "epoch-0002-step-000000"]
    kept = sorted(Path("whole/last").glob("epoch-*"))
    assert [path.stem for path in kept] == names
    assert kept[-1].samefile("whole/last/checkpoint.safetensors")
    for number, checkpoint in enumerate(kept):
        shutil.copytree("whole", f"parts{number}")
        shutil.copy(checkpoint, f"parts{number}/last/checkpoint.safetensors")
        main(["--resume", "--out", f"parts{number}"])
        assert_equal_runs("whole", f"parts{number}")
        assert sorted(path.stem for path in Path(f"parts{number}/last").glob("epoch-*")) == names

    def no_links(*paths: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("os.link", no_links)
    main([*argv, "--out", "copies"])
    assert sorted(path.stem for path in Path("copies/last").glob("epoch-*")) == names
    main([*QUICK, "--epochs", "1", "--out", "single"])
    assert [path.name for path in Path("single/last").iterdir()] == ["checkpoint.safetensors"]


@pytest.mark.slow
def test_a_run_ends_without_improvement_and_may_go_on(capsys) -> None:
    argv = [*QUICK, "--lr", "1e-9", "--schedule", "constant", "--epochs", "5"]
    main([*argv, "--patience", "2", "--out", "a"])
    assert "no better validation top-1 in 2 epochs: the run ends after 3 epochs" in capsys.readouterr().out
    assert json.loads(Path("a/summary.json").read_text())["epochs"] == len(metrics("a")) == 3
    main(["--resume", "--out", "a"])
    assert len(metrics("a")) == 3
    main(["--resume", "--out", "a", "--patience", "3"])
    assert len(metrics("a")) == 4
    main(["--resume", "--out", "a", "--patience", "none"])
    main([*argv, "--out", "whole"])
    assert_equal_runs("a", "whole")


def test_a_damaged_progress_is_refused() -> None:
    main([*QUICK, "--epochs", "1", "--checkpoint-steps", "2", "--out", "a"])
    path = Path("a/last/checkpoint.safetensors")
    arrays, metadata = safetensors_file.load(path)
    progress = json.loads(metadata["progress"])
    assert progress["partial"] == {"step": 0, "meters": [], "dropout_calls": {}, "seconds": 0.0}
    damaged: list[object] = [{"step": "1"}, {"step": 1, "meters": [[1, 2, 3]]}, {"steps": 1}, [], {"dropout_calls": 3}]
    for partial in (*damaged, None):
        text = json.dumps({**progress, "partial": partial})
        safetensors_file.save(path, arrays, {**metadata, "progress": text})
        assert_refused(main, ["--resume", "--out", "a"], "was not written by a training run")


@pytest.mark.slow
def test_a_run_resumes_where_all_weights_begin_to_be_trained(monkeypatch) -> None:
    """The optimizer starts anew in that epoch: its state in the checkpoint is that of the weights trained before."""
    argv = [*QUICK, "--epochs", "3", "--train-only", "classifier", "--train-only-epochs", "2"]
    main([*argv, "--out", "whole"])
    for number, step in enumerate((11, 12, 6)):  # the first and second step of epoch 3, and the first of epoch 2
        stop_at(monkeypatch, step, lambda trainer: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            main([*argv, "--out", f"parts{number}"])
        main(["--resume", "--out", f"parts{number}"])
        assert_equal_runs("whole", f"parts{number}")
    starts: list[bool] = []
    stop_at(monkeypatch, 11, lambda trainer: starts.append(bool(trainer.velocity) or bool(trainer.settings.train_only)))
    main([*argv, "--out", "again"])
    assert starts == [False]


def test_resuming_a_finished_run_changes_nothing(capsys) -> None:
    main([*QUICK, "--epochs", "1", "--out", "a"])
    before = {path: path.read_bytes() for path in Path("a").rglob("*") if path.is_file()}
    main(["--resume", "--out", "a", "--backend", "paddle"])  # weights and optimizer pass between backends
    after = {path: path.read_bytes() for path in Path("a").rglob("*") if path.is_file()}
    assert [path.name for path in after if after[path] != before[path]] == ["summary.json"]


def test_a_resumed_run_may_have_more_epochs() -> None:
    main([*QUICK, "--schedule", "constant", "--epochs", "3", "--out", "whole"])
    main([*QUICK, "--schedule", "constant", "--epochs", "1", "--out", "parts"])
    assert_refused(main, ["--resume", "--out", "parts", "--epochs", "0"], "epochs")
    main(["--resume", "--out", "parts", "--epochs", "3"])
    assert_equal_runs("whole", "parts")
    assert_refused(main, ["--resume", "--out", "parts", "--epochs", "2"], "epochs cannot change from 3 to 2")
    stages = ["--stages", "2", "--first-stage", "dropout=0", "--option", "dropout=0.6"]
    main([*QUICK, *stages, "--epochs", "2", "--out", "a"])
    assert_refused(main, ["--resume", "--out", "a", "--epochs", "4"], "epochs cannot change from 2 to 4")


def test_a_finished_run_of_stages_can_be_resumed() -> None:
    """The stage after the last, whose dropout rate would be above 1, is never built."""
    stages = ["--epochs", "2", "--stages", "2", "--first-stage", "dropout=0", "--option", "dropout=0.6"]
    main([*QUICK, *stages, "--out", "a"])
    main(["--resume", "--out", "a"])


def test_a_changed_value_or_other_images_cannot_be_resumed() -> None:
    write_photos("photos")
    main([*QUICK, "--data", "photos", "--epochs", "1", "--out", "a"])
    assert_refused(
        main,
        ["--resume", "--out", "a", "--lr", "0.5"],
        r"lr cannot change from .* to 0\.5 .* --weights a/best.safetensors",
    )
    assert_refused(main, ["--resume", "--out", "a", "--option", "width=2"], "options cannot change")
    Path("photos/a/0.png").unlink()
    assert_refused(main, ["--resume", "--out", "a"], "photos does not hold the images that a was trained on")
    Path("a/last/checkpoint.safetensors").unlink()
    assert_refused(main, ["--resume", "--out", "a"], "no such file: a/last/checkpoint.safetensors")


def test_a_run_is_resumed_with_the_package_that_resized_its_images(monkeypatch) -> None:
    fast = [*QUICK, "--decode", "fast", "--epochs", "2", "--out"]
    main([*fast, "whole"])
    stop_at(monkeypatch, 7, lambda trainer: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        main([*fast, "a"])
    shutil.copytree("a", "b")
    main(["--resume", "--out", "a"])
    assert_equal_runs("whole", "a")
    checkpoint = Path("b/last/checkpoint.safetensors")
    arrays, metadata = safetensors_file.load(checkpoint)
    progress = json.loads(metadata["progress"])
    del progress["resizer"]  # as in runs whose images Pillow resized
    for recorded, resizer, remedy in (
        ({"resizer": "cykooz-resizer 3.0"}, "cykooz-resizer 3.0", "install cykooz-resizer 3.0"),
        ({}, "Pillow", "start a new run"),
    ):
        safetensors_file.save(checkpoint, arrays, metadata | {"progress": json.dumps(progress | recorded)})
        message = f"the images of b were resized with {resizer}, and would now be with cykooz-resizer .*; {remedy}"
        assert_refused(main, ["--resume", "--out", "b"], message)
    fast_resize._package.cache_clear()
    monkeypatch.setitem(sys.modules, "cykooz_resizer", None)
    assert_refused(main, [*fast, "c"], "decode fast needs the package cykooz-resizer")
    assert not Path("c").exists()


def test_partial_files_of_a_killed_run_are_removed() -> None:
    main([*QUICK, "--epochs", "2", "--out", "a"])
    mine = [Path("a/.notes.12345678"), Path("a/last/notes")]
    halves = [Path("a/last/.checkpoint.safetensors.abcd_123"), Path("a/.curves.png.x1234567")]
    for file in mine + halves:
        file.touch()
    main(["--resume", "--out", "a"])
    assert all(file.exists() for file in mine) and not any(file.exists() for file in halves)


def test_a_disk_that_fills_up_keeps_the_previous_epoch(monkeypatch) -> None:
    main([*QUICK, "--epochs", "3", "--out", "whole"])
    replace, count = Path.replace, 0

    def until_full(self, target):
        nonlocal count
        count += Path(target).name == "checkpoint.safetensors"
        if count == 3:  # the first one has the initial weights
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", until_full)
    with pytest.raises(ReproError, match=r"cannot write parts/last/checkpoint\.safetensors: No space left"):
        main([*QUICK, "--epochs", "3", "--out", "parts"])
    assert [path.name for path in Path("parts/last").iterdir()] == ["checkpoint.safetensors"]
    monkeypatch.setattr(Path, "replace", replace)
    main(["--resume", "--out", "parts"])
    assert_equal_runs("whole", "parts")


def test_a_resumed_run_keeps_its_threads(monkeypatch, capsys) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    main([*QUICK, "--epochs", "1", "--out", "a"])
    assert "\nthreads: 3\n" in Path("a/config.yaml").read_text() and os.environ["OMP_NUM_THREADS"] == "3"
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    main(["--resume", "--out", "a", "--epochs", "2"])
    assert os.environ["OMP_NUM_THREADS"] == "3"
    main(["--resume", "--out", "a", "--epochs", "3", "--threads", "2"])
    assert os.environ["OMP_NUM_THREADS"] == "2" and "\nthreads: 2\n" in Path("a/config.yaml").read_text()
    assert capsys.readouterr().err.splitlines() == [
        "computing with 3 threads: set by OMP_NUM_THREADS",
        "computing with 3 threads: set by the recipe",
        "computing with 2 threads: set by the recipe",
    ]
