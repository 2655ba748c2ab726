"""A batch that is computed in parts trains as one that is not, and shards train to the same bits in any processes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity_tests.backends.test_processes import assert_close
from parity_tests.support.launching import QUICK_NETWORK, launch_environment, launcher
from repro.errors import ReproError
from repro.interface import TrainSettings
from repro.interface.dropout_source import SeededDropout
from repro.interface.parts import split_batch, tree_sum
from repro.interface.processes import ProcessGroup
from repro.interface.threads import choose_threads
from repro.weights import safetensors_file
from repro.workers.client import interpreter


def test_a_batch_in_parts_trains_as_one(backend: str, run_program: Callable[..., Any], tmp_path: Path) -> None:
    """A step with batch normalisation is the mean of the steps that each part would make."""
    run_program(backend, "parts:train_in_parts", backend, str(tmp_path))
    arrays = {path.stem: safetensors_file.load(path)[0] for path in tmp_path.iterdir()}
    assert_close(arrays["layers in 4"], arrays["layers"])
    first, second = arrays["batches, first half"], arrays["batches, second half"]
    expected = {
        name: np.concatenate([array, second[name]]) if name.startswith("logits") else (array + second[name]) / 2
        for name, array in first.items()
    }
    assert_close(arrays["batches in 2"], expected)


@pytest.mark.slow
def test_shards_train_to_the_same_bits_in_any_processes(backend: str, tmp_path: Path) -> None:
    """One process; and two, which are killed in the middle of an epoch, after which one goes on."""
    flags = [
        "--backend", backend, *QUICK_NETWORK, "--epochs", "2", "--mixup", "0.4", "--ema-decay", "0.9",
        "--clip-norm", "1", "--checkpoint-steps", "4", "--deterministic-shards", "4",
    ]  # fmt: skip
    script, killed = tmp_path / "main.py", tmp_path / "killed.py"
    script.write_text("from repro.cli import main\nmain()\n")
    killed.write_text("from parity_tests.programs.parts import run_until_killed\nrun_until_killed()\n")
    alone, together = tmp_path / "alone", tmp_path / "together"

    def run(command: list[str], *argv: str) -> subprocess.CompletedProcess[str]:
        # a launcher and a user may set another number of threads
        environment = launch_environment(interpreter(backend), OMP_NUM_THREADS="2")
        return subprocess.run(
            [*command, *argv], capture_output=True, text=True, check=False, env=environment, timeout=300
        )

    done = run([interpreter(backend), str(script), "run"], *flags, "--out", str(alone))
    assert done.returncode == 0, done.stderr
    run([*launcher(backend, tmp_path / "logs"), str(killed)], *flags, "--out", str(together))
    assert len((together / "metrics.jsonl").read_text().splitlines()) == 1
    done = run([interpreter(backend), str(script), "run"], "--resume", "--out", str(together))
    assert done.returncode == 0, done.stderr
    for file in ("best.safetensors", "last/checkpoint.safetensors"):
        first, second = (safetensors_file.load(folder / file)[0] for folder in (alone, together))
        assert first.keys() == second.keys()
        assert [name for name, array in first.items() if array.tobytes() != second[name].tobytes()] == [], file


def test_shares_of_a_tree_sum_add_up_to_its_bits() -> None:
    rng = np.random.default_rng(0)
    terms = list(
        rng.standard_normal((8, 1000)).astype(np.float32) * 10.0 ** rng.integers(-3, 3, (8, 1)).astype(np.float32)
    )
    expected = ((terms[0] + terms[1]) + (terms[2] + terms[3])) + ((terms[4] + terms[5]) + (terms[6] + terms[7]))
    for count in (1, 2, 4, 8):
        shares = [tree_sum(iter(terms[start : start + count])) for start in range(0, 8, count)]
        assert np.array_equal(tree_sum(shares), expected), count
    assert not np.array_equal(sum(terms[1:], start=terms[0]), expected)  # so that another order would be seen
    assert np.allclose(tree_sum(terms[:7]), sum(terms[:7]), rtol=1e-4, atol=1e-3)


def test_a_batch_is_split_in_order() -> None:
    parts = list(split_batch(np.arange(12).reshape(6, 2), np.arange(6), 3))
    assert [targets.tolist() for _, targets in parts] == [[0, 1], [2, 3], [4, 5]]
    assert [images[0, 0] for images, _ in parts] == [0, 4, 8]


def test_parts_draw_their_share_of_dropout() -> None:
    """Two layers ask in each of two steps, the second of which also follows a resumption."""
    whole = SeededDropout(3)
    expected = {(name, step): whole(name, (8, 5)) for step in range(2) for name in ("block", "head")}
    for world_size, parts in ((1, 4), (2, 2), (4, 1)):
        for rank in range(world_size):
            source = SeededDropout(3, ProcessGroup(rank, world_size), parts)
            resumed = SeededDropout(3, ProcessGroup(rank, world_size), parts)
            for step in range(2):
                if step:
                    assert source.steps == {"block": 1, "head": 1}
                    resumed.begin_epoch(0, source.steps)
                for part in range(parts):
                    start = 2 * (rank * parts + part)
                    for name in ("block", "head"):
                        for asked in (source, resumed) if step else (source,):
                            assert np.array_equal(asked(name, (2, 5)), expected[name, step][start : start + 2])


def test_impossible_parts_are_refused() -> None:
    assert TrainSettings(world_size=2, deterministic_shards=8).parts == 4
    assert TrainSettings(accumulate=3).parts == 3
    assert not TrainSettings(world_size=2).in_parts
    assert TrainSettings(deterministic_shards=1).in_parts
    for settings, message in (
        ({"accumulate": 0}, "accumulate must be a whole number from 1 to 4096, not 0"),
        ({"deterministic_shards": 6}, "deterministic_shards is 6; give a power of two, such as 8"),
        (
            {"deterministic_shards": 4, "world_size": 8},
            "4 deterministic shards .* by 8 .*; start 1 or 2 or 4 processes",
        ),
        ({"deterministic_shards": 4, "world_size": 3}, "4 deterministic shards cannot be shared evenly by 3 processes"),
        ({"deterministic_shards": 4, "accumulate": 2}, "accumulate is 2, but .* is 4, .*; leave accumulate out"),
        (
            {"deterministic_shards": 4, "sync_norm": True},
            "^sync_norm is set, but deterministic_shards is 4, .*; leave one of the two out$",
        ),
    ):
        with pytest.raises(ReproError, match=message):
            TrainSettings(**settings)  # type: ignore[arg-type]
    assert ProcessGroup(1, 2).local_slice(16, 4) == slice(8, 16)
    for batch_size in (12, 8):
        message = (
            rf"batch size {batch_size} cannot be split evenly over 2 processes in 4 parts \(at least 2 images each\)"
        )
        with pytest.raises(ReproError, match=message):
            ProcessGroup(0, 2).local_slice(batch_size, 4)


def test_threads_of_shards_do_not_depend_on_the_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert choose_threads("torch").count == 7
    assert choose_threads("torch", is_deterministic=True).count == 1
    assert choose_threads("torch", 5, is_deterministic=True).count == 5
