"""Training in several processes under a framework's launcher ends as in a single process."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from parity_tests.programs.processes import REDUCED_PRECISIONS
from parity_tests.support import made_up
from parity_tests.support.launching import QUICK_NETWORK, launch_environment, launcher
from parity_tests.support.made_up import QUICK, metrics
from repro.errors import ReproError
from repro.interface import TrainSettings
from repro.interface.dropout_source import SeededDropout
from repro.interface.processes import LAUNCHERS, SINGLE_PROCESS, ProcessGroup, process_group
from repro.run import main
from repro.training.meters import Meter
from repro.weights import safetensors_file
from repro.workers.client import interpreter

Arrays = dict[str, np.ndarray]


def run(command: list[str], logs: Path) -> str:
    """The output of a command; the test fails with its errors and logs where the command fails."""
    environment = launch_environment(command[0])
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)
    excerpts = "\n".join(path.read_text(errors="replace")[-3000:] for path in sorted(logs.rglob("*.log*")))
    assert done.returncode == 0, done.stderr[-3000:] + excerpts
    return done.stdout


def assert_close(arrays: Arrays, expected: Arrays, tolerance: float = 2e-5) -> None:
    assert arrays.keys() == expected.keys()
    for name, array in expected.items():
        assert np.abs(arrays[name] - array).max() <= tolerance * max(np.abs(array).max(), 0.1), name


def train_alone_and_together(backend: str, program: str, folder: Path) -> dict[str, Arrays]:
    """The results of a program as one process and as two, by NAME-RANK-of-WORLD_SIZE; ranks must agree."""
    script, logs = folder / "together.py", folder / "logs"
    script.write_text(f"from parity_tests.programs.processes import {program}\n{program}()\n")
    run([interpreter(backend), str(script), backend, str(folder)], logs)
    run([*launcher(backend, logs), str(script), backend, str(folder)], logs)
    results = {path.stem: safetensors_file.load(path)[0] for path in folder.glob("*.safetensors")}
    for name, rank1 in results.items():
        if name.endswith("-1-of-2"):
            rank0 = results[name.replace("-1-of-2", "-0-of-2")]
            assert rank0.keys() == rank1.keys()
            assert all(np.array_equal(array, rank1[key]) for key, array in rank0.items()), name
    return results


@pytest.mark.slow
def test_two_processes_train_as_one(backend: str, tmp_path: Path) -> None:
    arrays = train_alone_and_together(backend, "main", tmp_path)
    assert_close(arrays["layers-0-of-2"], arrays["layers-0-of-1"])
    halves = arrays["first-half-0-of-1"], arrays["second-half-0-of-1"]
    assert halves[0].keys() == halves[1].keys()
    assert_close(arrays["batches-0-of-2"], {name: (array + halves[1][name]) / 2 for name, array in halves[0].items()})
    assert arrays["sums-0-of-2"]["sums"].tolist() == [2**41 + 1, 1.0]
    assert {"layers-1-of-2", "batches-1-of-2", "sums-1-of-2"} <= arrays.keys()


@pytest.mark.slow
def test_synchronised_normalisation_trains_as_in_one_process(backend: str, tmp_path: Path) -> None:
    """Weights, running statistics and EMA, also of parts; unsynchronised normalisation ends elsewhere."""
    arrays = train_alone_and_together(backend, "synchronised", tmp_path)
    for name, tolerance in {"synchronised": 2e-5, "parts": 2e-5, "frozen": 2e-5, "shortcuts": 1e-3}.items():
        assert_close(arrays[f"{name}-0-of-2"], arrays[f"{name}-0-of-1"], tolerance)  # rounding meets ReLU in the last
    alone, separate = arrays["synchronised-0-of-1"], arrays["separate-0-of-2"]
    for name in ("losses", "stem.conv.weight", "stem.norm.running_var", "classifier.weight"):
        assert np.abs(separate[name] - alone[name]).max() > 1e-3 * np.abs(alone[name]).max(), name
    frozen = arrays["frozen-0-of-2"]
    assert not frozen["stem.norm.running_mean"].any()
    assert (frozen["stem.norm.running_var"] == 1).all()
    assert (frozen["stages.1.0.project.norm.running_var"] != 1).all()
    for precision in REDUCED_PRECISIONS[backend]:
        tolerance = {"float16": 1e-2, "bfloat16": 8e-2}[precision]  # with three bits less
        assert_close(arrays[f"{precision}-0-of-2"], arrays[f"{precision}-0-of-1"], tolerance)


@pytest.mark.slow
def test_the_command_under_a_launcher(backend: str, tmp_path: Path) -> None:
    """Rank 0 writes and prints, and its metrics cover the images of both ranks."""
    out, logs = tmp_path / "run", tmp_path / "logs"
    (tmp_path / "main.py").write_text("from repro.cli import main\nmain()\n")
    recipe = ["--backend", backend, *QUICK_NETWORK, "--out", str(out)]
    output = run([*launcher(backend, logs), str(tmp_path / "main.py"), "run", *recipe, "--epochs", "1"], logs)
    printed_once = ("in 2 processes", "epoch 1/1  train", "best validation")
    assert [output.count(text) for text in printed_once] == [1, 1, 1], output
    (row,) = metrics(out)
    assert row["val_top1"] * 364 == pytest.approx(round(row["val_top1"] * 364))  # a fraction of all 364 images
    assert row["train_top1"] * 1408 == pytest.approx(round(row["train_top1"] * 1408))
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["epochs"], summary["val_images"]) == (1, 364)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["logs"] * logs.is_dir() + ["main.py", "run"]


def test_rank_and_world_size_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert process_group("torch") is SINGLE_PROCESS
    for backend, variables in LAUNCHERS.items():
        with monkeypatch.context() as environment:
            environment.setenv(variables.world_size_variable, "1")
            assert process_group(backend) is SINGLE_PROCESS
            environment.setenv(variables.world_size_variable, "3")
            environment.setenv(variables.rank_variable, "2")
            assert process_group(backend) == ProcessGroup(2, 3)
            for other in {*LAUNCHERS, "unknown"} - {backend}:
                message = rf"^{variables.name} started 3 processes .* --backend is {other}; .* as a single process$"
                with pytest.raises(ReproError, match=message):
                    process_group(other)
            for world_size, rank in (("3", "3"), ("three", "0"), ("3", "-1"), ("", "0")):
                environment.setenv(variables.world_size_variable, world_size)
                environment.setenv(variables.rank_variable, rank)
                message = f"{variables.rank_variable}={rank} is not a valid rank and world size"
                with pytest.raises(ReproError, match=message):
                    process_group(backend)


def test_unreachable_processes_are_reported_in_one_line() -> None:
    class Unreachable:
        @staticmethod
        def init_distributed() -> None:
            raise ValueError("environment variable MASTER_ADDR expected\nand more")

    message = r"^rank 1 of 2 cannot reach the other processes \(environment variable MASTER_ADDR expected\); start .*$"
    with pytest.raises(ReproError, match=message) as caught:
        ProcessGroup(1, 2).initialised(cast("Any", Unreachable))
    assert "\n" not in str(caught.value)


def test_local_slices_make_up_a_batch() -> None:
    assert [ProcessGroup(rank, 3).local_slice(12) for rank in range(3)] == [slice(0, 4), slice(4, 8), slice(8, 12)]
    assert SINGLE_PROCESS.local_slice(1) == slice(0, 1)
    for batch_size in (3, 13):
        with pytest.raises(ReproError, match=f"batch size {batch_size} cannot be split evenly over 3 processes"):
            ProcessGroup(0, 3).local_slice(batch_size)


def test_ranks_draw_their_slices_of_dropout() -> None:
    single = SeededDropout(3)
    ranks = [SeededDropout(3, ProcessGroup(rank, 2)) for rank in range(2)]
    for shape in ((4, 5), (4, 1, 1, 1)):
        slices = [source("block", (2, *shape[1:])) for source in ranks]
        assert np.array_equal(np.concatenate(slices), single("block", shape))


def test_meters_are_summed_over_all_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    meter = Meter(10, 5.5, 3, 7)
    assert meter.all_reduced(SINGLE_PROCESS) == meter
    monkeypatch.setattr(made_up.Backend, "all_reduce_sum", lambda numbers: 2 * numbers, raising=False)
    total = meter.all_reduced(ProcessGroup(1, 2, made_up.Backend))  # type: ignore[arg-type]
    assert total == Meter(20, 11.0, 6, 14)
    assert isinstance(total.images, int)


@pytest.mark.usefixtures("made_up_backend")
@pytest.mark.parametrize("rank", [0, 1])
def test_only_rank_0_writes_and_prints(
    rank: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    initialised: list[int] = []
    batch_sizes: list[int] = []
    step = made_up.SoftmaxRegression.step

    def step_on_the_slice(self: Any, images: np.ndarray, labels: np.ndarray, lr: float) -> tuple[float, np.ndarray]:
        assert self.settings.world_size == 2
        assert len(labels) == 128
        batch_sizes.append(len(images))
        return step(self, images, labels, lr)

    monkeypatch.setattr(made_up.SoftmaxRegression, "step", step_on_the_slice)
    monkeypatch.setattr(made_up.Backend, "init_distributed", lambda: initialised.append(rank), raising=False)
    monkeypatch.setattr(made_up.Backend, "all_reduce_sum", lambda numbers: 2 * numbers, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("TQDM_DISABLE", "0")
    with pytest.raises(ReproError, match="batch size 251 cannot be split evenly over 2 processes"):
        main([*QUICK, "--batch-size", "251", "--out", "run"])
    assert not initialised
    assert main([*QUICK, "--epochs", "2", "--out", "run"]) == 0
    assert initialised == [rank]
    assert batch_sizes == [128] * 10
    assert Path("run").exists() == (rank == 0)
    output = capsys.readouterr().out
    expected = (3, True) if rank == 0 else (0, False)
    assert (output.count("epoch "), "in 2 processes" in output) == expected, output


@pytest.mark.parametrize("world_size", [0, 1.5, True, "2"])
def test_bad_world_sizes_are_refused(world_size: object) -> None:
    with pytest.raises(ReproError, match=r"world_size is .*; give the number of processes, at least 1"):
        TrainSettings(world_size=world_size)  # type: ignore[arg-type]
