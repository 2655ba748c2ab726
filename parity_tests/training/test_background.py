"""Checkpoints are written while the training goes on: order, errors, Ctrl-C, and the end of a run."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from parity_tests.support.made_up import QUICK, SoftmaxRegression, metrics
from parity_tests.support.runs import assert_equal_runs, stop_at
from repro.cli import run_command
from repro.errors import ReproError
from repro.run import main
from repro.training.background import BackgroundWriter
from repro.training.loop import Diverged
from repro.training.run_folder import LAST, parse_progress
from repro.training.run_writer import RunFolder, Snapshot
from repro.weights import safetensors_file


@pytest.fixture
def before_each_checkpoint(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Snapshot], object]], None]:
    """A function that sets what is called before a checkpoint is written, in the thread that writes it."""

    def change(action: Callable[[Snapshot], object]) -> None:
        write = RunFolder._write_checkpoint

        def write_later(self: RunFolder, recipe: object, checkpoint: Snapshot) -> None:
            action(checkpoint)
            write(self, recipe, checkpoint)  # type: ignore[arg-type]

        monkeypatch.setattr(RunFolder, "_write_checkpoint", write_later)

    return change


def saved_steps(run: str) -> tuple[int, int]:
    """The finished epochs, and the steps after them, of the checkpoint of a run."""
    path = Path(run, LAST)
    progress = parse_progress(safetensors_file.load(path)[1], path)
    return progress.epoch, progress.partial.step


def files_of(run: str) -> set[str]:
    return {path.name for path in Path(run).rglob("*") if path.is_file()}


def fail(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", "somewhere")


def test_one_thing_is_written_at_a_time_and_in_order() -> None:
    writer, written, threads = BackgroundWriter(), list[int](), set[int]()

    def write(number: int) -> None:
        time.sleep(0.05 / (number + 1))  # the later, the quicker
        threads.add(threading.get_ident())
        written.append(number)

    with writer.running():
        for number in range(5):
            writer.submit(lambda number=number: write(number))  # type: ignore[misc]
            assert len(written) >= number  # all before it
    assert written == [0, 1, 2, 3, 4]
    assert len(threads) == 1 and threading.get_ident() not in threads
    writer.submit(lambda: write(5))
    assert written[-1] == 5 and threading.get_ident() in threads


def test_an_error_is_raised_once_and_nothing_is_written_after_it() -> None:
    writer, written = BackgroundWriter(), list[int]()
    with pytest.raises(OSError, match="No space left"), writer.running():
        writer.submit(fail)
        writer.submit(lambda: written.append(1))
    with pytest.raises(OSError, match="No space left"), writer.running():  # at the end
        writer.submit(fail)
    with pytest.raises(OSError, match="No space left"), writer.running():  # in the place of another error
        writer.submit(fail)
        raise ReproError("the files hold an epoch")
    writer.wait()
    assert not written


def test_ctrl_c_while_the_end_waits_does_not_end_the_writing() -> None:
    writer, written = BackgroundWriter(), list[int]()

    def write() -> None:
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.3)
        written.append(1)

    with pytest.raises(KeyboardInterrupt), writer.running():
        writer.submit(write)
    assert written == [1]


@pytest.mark.usefixtures("made_up_backend")
def test_the_training_goes_on_while_a_checkpoint_is_written(monkeypatch, before_each_checkpoint) -> None:
    """Each write waits until the next step is taken, and still holds the weights of its own step."""
    main([*QUICK, "--epochs", "2", "--checkpoint-steps", "2", "--keep", "9", "--out", "whole"])
    monkeypatch.setattr(SoftmaxRegression, "steps_taken", 0)
    overlapped = []

    def wait_for_step(checkpoint: Snapshot) -> None:
        taken = 5 * checkpoint.progress.epoch + checkpoint.progress.partial.step
        if 0 < taken < 10:
            deadline = time.monotonic() + 20
            while SoftmaxRegression.steps_taken <= taken and time.monotonic() < deadline:
                time.sleep(0.001)
            overlapped.append(SoftmaxRegression.steps_taken > taken)

    before_each_checkpoint(wait_for_step)
    main([*QUICK, "--epochs", "2", "--checkpoint-steps", "2", "--keep", "9", "--out", "parts"])
    assert overlapped == [True] * 5
    assert_equal_runs("whole", "parts")
    kept = sorted(Path("whole/last").glob("epoch-*"))
    assert len(kept) == 7
    for path in kept:
        expected, arrays = safetensors_file.load(path)[0], safetensors_file.load(Path("parts/last", path.name))[0]
        assert {name: array.tobytes() for name, array in arrays.items()} == {
            name: array.tobytes() for name, array in expected.items()
        }


@pytest.mark.usefixtures("made_up_backend")
def test_files_are_replaced_in_the_order_of_their_dependence(monkeypatch) -> None:
    """The checkpoint comes after what it implies, and the summary after everything."""
    replaced: list[str] = []
    replace = Path.replace

    def record(self: Path, target: Path) -> Path:
        replaced.append(Path(target).name)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", record)
    main([*QUICK, "--epochs", "2", "--lr", "1e-9", "--checkpoint-steps", "3", "--out", "a"])  # epoch 1 stays the best
    start = ["config.yaml", "class_indices.json"]
    epoch = [*start, "metrics.jsonl"]
    last = ["checkpoint.safetensors"]
    expected = [start, last, last, epoch, ["best.safetensors"], last, last, epoch, last, ["summary.json"]]
    assert replaced == [name for names in expected for name in names]


@pytest.mark.usefixtures("made_up_backend")
@pytest.mark.parametrize("flags", [[], ["--checkpoint-steps", "1"]])
def test_ctrl_c_leaves_a_whole_checkpoint_and_says_what_is_saved(before_each_checkpoint, flags) -> None:
    main([*QUICK, "--epochs", "3", *flags, "--out", "whole"])

    def interrupt(checkpoint: Snapshot) -> None:
        progress = checkpoint.progress
        if (progress.epoch, progress.partial.step) == (1, 3 if flags else 0):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.3)

    before_each_checkpoint(interrupt)
    with pytest.raises(KeyboardInterrupt) as end:
        main([*QUICK, "--epochs", "3", *flags, "--out", "parts"])
    assert saved_steps("parts") == (1, 3 if flags else 0)
    steps = " and 3 steps" if flags else ""
    assert str(end.value) == f"1 of 3 epochs{steps} are saved; resume with: python -m repro.run --resume --out parts"
    assert not any(name.startswith(".") for name in files_of("parts"))
    main(["--resume", "--out", "parts"])
    assert_equal_runs("whole", "parts")


@pytest.mark.usefixtures("made_up_backend")
@pytest.mark.parametrize("failing", [0, 1, 3])  # the initial state, epoch 1, and the last epoch
def test_an_error_of_the_disk_ends_the_run(monkeypatch, capsys, failing) -> None:
    replace = Path.replace

    def until_full(self: Path, target: Path) -> Path:
        if Path(target).name == "checkpoint.safetensors" and len(metrics_lines("a")) == failing:
            fail()
        return replace(self, target)

    def metrics_lines(run: str) -> list[object]:
        return metrics(run) if Path(run, "metrics.jsonl").exists() else []

    monkeypatch.setattr(Path, "replace", until_full)
    with pytest.raises(SystemExit) as end:
        run_command(lambda: main([*QUICK, "--epochs", "3", "--out", "a"]))
    assert end.value.code == 1
    errors = capsys.readouterr().err.splitlines()
    assert errors[-1] == (
        "error: cannot write a/last/checkpoint.safetensors: No space left on device; no partial output is left"
    )
    if not failing:
        assert not Path("a").exists()
        return
    assert len(metrics("a")) == failing and saved_steps("a") == (failing - 1, 0)  # no later epoch was written
    assert "summary.json" not in files_of("a") and not any(name.startswith(".") for name in files_of("a"))


@pytest.mark.usefixtures("made_up_backend")
def test_a_run_folder_that_is_deleted_ends_the_run(monkeypatch) -> None:
    def delete(trainer: SoftmaxRegression) -> None:
        deadline = time.monotonic() + 20
        while saved_steps("a") != (1, 0) and time.monotonic() < deadline:
            time.sleep(0.01)
        shutil.rmtree("a")

    stop_at(monkeypatch, 7, delete)
    with pytest.raises(ReproError, match=r"^cannot write a/config.yaml: No such file or directory"):
        main([*QUICK, "--epochs", "2", "--out", "a"])
    assert not Path("a").exists()


@pytest.mark.usefixtures("made_up_backend")
@pytest.mark.parametrize("disk", ["free", "full"])
def test_a_loss_of_nan_is_reported_after_the_checkpoint_before_it(monkeypatch, before_each_checkpoint, disk) -> None:
    """If that checkpoint cannot be written, this is the error, since the other one would name it as saved."""

    def spoil(trainer: SoftmaxRegression) -> None:
        trainer.arrays["classifier.bias"] = trainer.arrays["classifier.bias"] * float("nan")

    def delay(checkpoint: Snapshot) -> None:
        if checkpoint.progress.epoch:
            time.sleep(0.5)
            if disk == "full":
                fail()

    before_each_checkpoint(delay)
    stop_at(monkeypatch, 6, spoil)
    with pytest.raises(OSError if disk == "full" else Diverged) as end:
        main([*QUICK, "--epochs", "3", "--out", "a"])
    if disk == "full":
        assert "No space left" in str(end.value) and "diverged.txt" not in files_of("a")
    else:
        assert "a/last/checkpoint.safetensors holds epoch 1" in str(end.value)
        assert saved_steps("a") == (1, 0) and "diverged.txt" in files_of("a")
