"""Ranks that would train something else than the others end with a line, as on machines with other files or flags."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from parity_tests.support.launching import QUICK_NETWORK, launch_environment, launcher
from repro.errors import ReproError
from repro.interface.processes import ProcessGroup
from repro.training.initial_state import check_same_start
from repro.training.recipe_sources import build_recipe
from repro.training.run_folder import PartialEpoch, TrainingProgress

RECIPE = build_recipe({"backend": "torch", "model": "asymmnet_small"}, {})
PROGRESS = TrainingProgress("0123456789ab")
WEIGHTS = {"weight": np.arange(6, dtype=np.float32).reshape(2, 3), "steps": np.array(3)}
START: tuple[Any, ...] = (RECIPE, PROGRESS, WEIGHTS, {})


def check_two_ranks(*starts: tuple[Any, ...]) -> None:
    """Call check_same_start as two ranks."""
    sent: list[np.ndarray] = []

    class Recorder:
        @staticmethod
        def all_reduce_sum(numbers: np.ndarray) -> np.ndarray:
            sent.append(numbers)
            return numbers * 2

    class Summer:
        @staticmethod
        def all_reduce_sum(numbers: np.ndarray) -> np.ndarray:
            return sent[0] + numbers

    for rank, (backend, start) in enumerate(zip((Recorder, Summer), starts, strict=True)):
        check_same_start(ProcessGroup(rank, 2, cast("Any", backend)), *start)


def test_equal_starts_pass() -> None:
    own = replace(RECIPE, data="elsewhere", weights="elsewhere.pth", workers=3, threads=5, check="first-epoch")
    check_two_ranks(START, START)
    check_two_ranks(START, (own, replace(PROGRESS, seconds=3.0), dict(WEIGHTS), {}))
    check_same_start(ProcessGroup(), *START)


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("lr", (replace(RECIPE, lr=0.2), PROGRESS, WEIGHTS, {})),
        ("data set", (RECIPE, TrainingProgress("0123456789ac"), WEIGHTS, {})),
        ("checkpoint", (RECIPE, replace(PROGRESS, partial=PartialEpoch(step=2)), WEIGHTS, {})),
        ("weights", (RECIPE, PROGRESS, WEIGHTS | {"steps": np.array(4)}, {})),
        ("weights", (RECIPE, PROGRESS, WEIGHTS, {"velocity/weight": np.zeros(2, np.float32)})),
    ],
)
def test_another_start_is_named(name: str, start: tuple[Any, ...]) -> None:
    with pytest.raises(ReproError, match=f"^rank 1 has another {name} than other ranks; start all of them with"):
        check_two_ranks(START, start)


@pytest.mark.slow
def test_another_learning_rate_on_one_rank_ends_the_run(backend: str, tmp_path: Path) -> None:
    script, logs, out = tmp_path / "main.py", tmp_path / "logs", tmp_path / "run"
    script.write_text(
        "import sys\nfrom repro.cli import main\nfrom repro.interface.processes import process_group\n"
        f"sys.argv += ['--lr', str(0.1 + process_group({backend!r}).rank)]\nmain()\n"
    )
    flags = ["run", "--backend", backend, *QUICK_NETWORK, "--out", str(out)]
    command = [*launcher(backend, logs), str(script), *flags]
    environment = launch_environment(command[0])
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)
    written = "".join(path.read_text(errors="replace") for path in logs.rglob("*log*") if path.is_file())
    assert done.returncode and not out.exists()
    assert "has another lr than other ranks; start all of them" in done.stdout + done.stderr + written
