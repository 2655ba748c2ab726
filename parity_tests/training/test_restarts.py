"""A run that torchrun starts again goes on by itself from its last checkpoint."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from parity_tests.support.launching import QUICK_NETWORK, ROOT, launcher
from parity_tests.support.made_up import QUICK, SoftmaxRegression
from parity_tests.support.runs import assert_equal_runs, stop_at
from repro.errors import ReproError
from repro.run import main
from repro.weights import safetensors_file


@pytest.mark.usefixtures("made_up_backend")
def test_a_restarted_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    argv = [*QUICK, "--epochs", "3", "--checkpoint-steps", "2"]
    main([*argv, "--out", "whole"])
    stop_at(monkeypatch, 10, lambda trainer: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        main([*argv, "--out", "parts"])
    monkeypatch.setattr(SoftmaxRegression, "stop", None)
    with pytest.raises(ReproError, match="parts already exists; give another --out"):
        main([*argv, "--out", "parts"])
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    SoftmaxRegression.steps_taken = 0
    main([*argv, "--out", "parts"])
    assert SoftmaxRegression.steps_taken == 6  # of 15; the fourth step of epoch 2 was the last that is saved
    assert_equal_runs("whole", "parts")


@pytest.mark.usefixtures("made_up_backend")
def test_a_run_without_a_checkpoint_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "2")
    beginning, other = Path("beginning/last"), Path("other")
    beginning.mkdir(parents=True)
    for file in (
        "beginning/config.yaml",
        "beginning/class_indices.json",
        "beginning/last/.checkpoint.safetensors.abcdefgh",
    ):
        Path(file).write_text("half")
    main([*QUICK, "--epochs", "1", "--out", "beginning"])
    assert Path("beginning/summary.json").exists()
    other.mkdir()
    (other / "config.yaml").write_text("of somebody else")
    with pytest.raises(ReproError, match="other already exists"):
        main([*QUICK, "--epochs", "1", "--out", "other"])
    assert (other / "config.yaml").read_text() == "of somebody else"
    main([*QUICK, "--epochs", "1"])  # the name of a new folder is made anew
    assert len(list(Path("runs").iterdir())) == 1


@pytest.mark.slow
def test_torchrun_restarts_a_run(tmp_path: Path, require_backend: Callable[[str], None]) -> None:
    """Rank 1 is killed in the middle of epoch 2, and the run ends with the bits of one that never stopped."""
    require_backend("torch")
    flags = ["--backend", "torch", *QUICK_NETWORK, "--epochs", "3", "--checkpoint-steps", "4", "--ema-decay", "0.9"]
    programs = {
        "whole": "from repro.cli import main\nmain()\n",
        "killed": "from parity_tests.programs.parts import run_until_killed\nrun_until_killed(rank='1')\n",
    }
    for name, program in programs.items():
        script = tmp_path / f"{name}.py"
        script.write_text(program)
        start = [*launcher("torch", tmp_path), "--max-restarts", "1", str(script)]
        command = [*start, *["run"] * (name == "whole"), *flags, "--out", str(tmp_path / name)]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("in 2 processes") == (1 if name == "whole" else 2)
        assert done.stdout.count("epoch 1/3  train") == 1
    for file in ("best.safetensors", "last/checkpoint.safetensors"):
        whole, killed = (safetensors_file.load(tmp_path / name / file)[0] for name in programs)
        assert whole.keys() == killed.keys()
        assert [name for name, array in whole.items() if array.tobytes() != killed[name].tobytes()] == []
