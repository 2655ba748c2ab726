"""Several processes under a framework's launcher train as one would."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from parity_tests.support import made_up
from parity_tests.support.made_up import QUICK, metrics
from repro.errors import ReproError
from repro.interface import TrainSettings
from repro.interface.dropout_source import SeededDropout
from repro.interface.processes import LAUNCHERS, SINGLE_PROCESS, ProcessGroup, process_group
from repro.run import main
from repro.training.meters import Meter
from repro.weights import safetensors_file
from repro.workers.client import interpreter

# a network that normalises each image by itself ends as in one process; of one that normalises batches, a step is the
# mean of steps on the two shares
TOGETHER = """
import sys
from dataclasses import replace
import numpy as np
from repro.interface.discovery import load_backend
from repro.interface.dropout_source import SeededDropout
from repro.interface import TrainSettings
from repro.interface.processes import process_group
from repro.specs import find_spec
from repro.weights import safetensors_file
from repro.weights.init import initialise

name, out = sys.argv[1:]
backend = load_backend(name)
processes = process_group(name).initialised(backend)
rng = np.random.default_rng(0)
images = rng.standard_normal((3, 8, 3, 32, 32)).astype(np.float32)
labels = rng.integers(0, 5, (3, 8))

def trained(spec, settings, steps, part=slice(None)):
    drops = SeededDropout(0, processes)
    model = backend.create_model(spec)
    backend.set_dropout_source(model, drops)
    trainer = backend.create_trainer(model, replace(settings, world_size=processes.world_size))
    trainer.load_weights(initialise(spec, 0))
    losses = []
    for x, y in zip(images[:steps, part], labels[:steps, part]):
        share = processes.local_slice(len(x))
        losses.append(trainer.step(x[share], y[share], 0.1)[0])
    found = {"losses": np.array(losses, np.float32)} | trainer.weights() | trainer.state()
    return found | {f"average/{name}": array for name, array in trainer.ema_weights().items()}

# the norm of a share's gradients is from 12 to 33, and that of the whole from 8 to 17: all would be clipped
layers = find_spec("rdnet_tiny", num_classes=5, dropout=0.2, drop_path=0.3)
layers = replace(layers, stages=layers.stages[:2])
# in MindSpore the graph takes half a minute to compile; the other network's has what is shared in it, too
settings = TrainSettings(clip_norm=3.5, ema_decay=0.5, label_smoothing=0.1, compiled=False)
batches = find_spec("asymmnet_small", num_classes=5, dropout=0.0, width=0.35)
batches = replace(batches, stages=batches.stages[:2])
found = {"layers": trained(layers, settings, 3)}
parts = {"batches": slice(None)} if processes.world_size > 1 else {"one": slice(4), "other": slice(4, 8)}
found |= {part: trained(batches, TrainSettings(weight_decay=0.1), 1, rows) for part, rows in parts.items()}
for part, arrays in found.items():
    safetensors_file.save(f"{out}/{part}-{processes.rank}-of-{processes.world_size}.safetensors", arrays)
"""


def launched(backend: str, logs: Path) -> list[str]:
    """What starts a script in two processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [interpreter(backend), "-m", *{
        "torch": ["torch.distributed.run", "--standalone", "--nproc_per_node", "2"],
        "paddle": ["paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir", f"{logs}"],
        "mindspore": [
            "mindspore.parallel.cluster.run", "--worker_num=2", "--local_worker_num=2", f"--master_port={port}",
            f"--log_dir={logs}", "--join=True",
        ],
    }[backend]]  # fmt: skip


def run(command: list[str], logs: Path) -> str:
    # msrun starts whatever `python` is
    path = f"{Path(command[0]).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"PATH": path}, timeout=300
    )
    told = "\n".join(path.read_text(errors="replace")[-3000:] for path in sorted(logs.rglob("*.log*")))
    assert done.returncode == 0, done.stderr[-3000:] + told
    return done.stdout


def close(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        assert np.abs(found[name] - array).max() <= 2e-5 * max(np.abs(array).max(), 0.1), name


def test_two_processes_train_as_one(backend: str, tmp_path: Path) -> None:
    script, logs = tmp_path / "together.py", tmp_path / "logs"
    script.write_text(TOGETHER)
    run([interpreter(backend), str(script), backend, str(tmp_path)], logs)
    run([*launched(backend, logs), str(script), backend, str(tmp_path)], logs)

    def arrays(name: str) -> dict[str, np.ndarray]:
        return safetensors_file.load(tmp_path / f"{name}.safetensors")[0]

    close(arrays("layers-0-of-2"), arrays("layers-0-of-1"))
    one, other = arrays("one-0-of-1"), arrays("other-0-of-1")
    close(arrays("batches-0-of-2"), {name: (array + other[name]) / 2 for name, array in one.items()})
    for part in ("layers", "batches"):
        first, second = arrays(f"{part}-0-of-2"), arrays(f"{part}-1-of-2")
        assert all(np.array_equal(array, second[name]) for name, array in first.items())


def test_the_command_under_a_launcher(backend: str, tmp_path: Path) -> None:
    """One process writes and speaks, and what both have counted is in the numbers."""
    out, logs = tmp_path / "run", tmp_path / "logs"
    (tmp_path / "main.py").write_text("from repro.cli import main\nmain()\n")
    recipe = ["--backend", backend, "--model", "asymmnet_small_x0_35", "--image-size", "16", "--out", str(out)]
    said = run([*launched(backend, logs), str(tmp_path / "main.py"), "run", *recipe, "--epochs", "1"], logs)
    assert said.count("in 2 processes") == said.count("epoch 1/1") == said.count("best validation") == 1, said
    (row,) = metrics(out)
    assert row["val_top1"] * 364 == pytest.approx(round(row["val_top1"] * 364))  # of all images
    assert row["train_top1"] * 1408 == pytest.approx(round(row["train_top1"] * 1408))
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["epochs"], summary["val_images"]) == (1, 364)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["logs"] * logs.is_dir() + ["main.py", "run"]


def test_what_the_environment_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    assert process_group("torch") is SINGLE_PROCESS
    for backend, launcher in LAUNCHERS.items():
        with monkeypatch.context() as environment:
            environment.setenv(launcher.world_size_variable, "1")
            assert process_group(backend) is SINGLE_PROCESS
            environment.setenv(launcher.world_size_variable, "3")
            environment.setenv(launcher.rank_variable, "2")
            assert process_group(backend) == ProcessGroup(2, 3)
            for other in {*LAUNCHERS, "theirs"} - {backend}:
                with pytest.raises(ReproError, match=rf"^{launcher.name} has started 3 processes .* one process$"):
                    process_group(other)
            for count, rank in (("3", "3"), ("three", "0"), ("3", "-1"), ("", "0")):
                environment.setenv(launcher.world_size_variable, count)
                environment.setenv(launcher.rank_variable, rank)
                with pytest.raises(ReproError, match=f"{launcher.rank_variable}={rank} is no process of several"):
                    process_group(backend)


def test_others_that_are_not_there_are_one_line() -> None:
    class Alone:
        @staticmethod
        def join() -> None:
            raise ValueError("environment variable MASTER_ADDR expected\nand more")

    with pytest.raises(ReproError, match=r"process 1 of 2, and cannot join .*\(environment .* expected\); start"):
        ProcessGroup(1, 2).initialised(cast("Any", Alone))


def test_shares_make_up_a_batch() -> None:
    assert [ProcessGroup(rank, 3).local_slice(12) for rank in range(3)] == [slice(0, 4), slice(4, 8), slice(8, 12)]
    assert SINGLE_PROCESS.local_slice(1) == slice(0, 1)
    for images in (3, 13):
        with pytest.raises(ReproError, match=f"a batch of {images} images does not part into 3 equal shares"):
            ProcessGroup(0, 3).local_slice(images)


def test_shares_drop_what_the_whole_would() -> None:
    whole = SeededDropout(3)
    shares = [SeededDropout(3, ProcessGroup(rank, 2)) for rank in range(2)]
    for shape in ((4, 5), (4, 1, 1, 1)):
        parts = [drops("block", (2, *shape[1:])) for drops in shares]
        assert np.array_equal(np.concatenate(parts), whole("block", shape))


def test_a_count_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    meter = Meter(10, 5.5, 3, 7)
    assert meter.all_reduced(SINGLE_PROCESS) == meter
    monkeypatch.setattr(made_up.Backend, "all_reduce_sum", lambda numbers: 2 * numbers, raising=False)
    total = meter.all_reduced(ProcessGroup(1, 2, made_up.Backend))  # type: ignore[arg-type]
    assert total == Meter(20, 11.0, 6, 14) and isinstance(total.images, int)


@pytest.mark.usefixtures("made_up_backend")
@pytest.mark.parametrize("rank", [0, 1])
def test_the_first_process_alone_writes(
    rank: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    joined: list[Any] = []
    shapes: list[int] = []
    step = made_up.SoftmaxRegression.step

    def on_its_share(self: Any, images: np.ndarray, labels: np.ndarray, lr: float) -> tuple[float, np.ndarray]:
        assert self.settings.world_size == 2 and len(labels) == 128
        shapes.append(len(images))
        return step(self, images, labels, lr)

    monkeypatch.setattr(made_up.SoftmaxRegression, "step", on_its_share)
    monkeypatch.setattr(made_up.Backend, "join", lambda: joined.append(1), raising=False)
    monkeypatch.setattr(made_up.Backend, "all_reduce_sum", lambda numbers: 2 * numbers, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("TQDM_DISABLE", "0")
    with pytest.raises(ReproError, match="a batch of 251 images does not part into 2 equal shares"):
        main([*QUICK, "--batch-size", "251", "--out", "run"])
    assert not joined
    assert main([*QUICK, "--epochs", "2", "--out", "run"]) == 0
    assert joined == [1] and shapes == [128] * 10
    assert Path("run").exists() == (rank == 0)
    said = capsys.readouterr()
    assert (said.out.count("epoch "), "in 2 processes" in said.out) == ((3, True) if rank == 0 else (0, False)), said


def test_how_many_processes_a_step_has() -> None:
    for count in (0, 1.5, True, "2"):
        with pytest.raises(ReproError, match="processes"):
            TrainSettings(world_size=count)  # type: ignore[arg-type]
