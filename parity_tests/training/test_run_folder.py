"""Checkpoints of run folders, including invalid ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from repro.arrays import Arrays
from repro.errors import ReproError
from repro.interface.loss_scale import LossScale
from repro.specs import find_spec
from repro.training import run_folder
from repro.weights import safetensors_file
from repro.weights.init import initialise

SPEC = find_spec("asymmnet_small_x0_35", num_classes=10)
PROGRESS = {"digest": "d", "history": [], "images": 0, "seconds": 0.0}


def write_checkpoint(
    folder: Path, *, weights: Arrays | None = None, progress: object = PROGRESS, optimizer: Arrays | None = None
) -> Path:
    """Write a checkpoint, by default of the initial weights of SPEC, and return its path."""
    arrays = {f"weights/{name}": array for name, array in (weights or initialise(SPEC, 0)).items()}
    arrays |= {f"optimizer/{name}": array for name, array in (optimizer or {}).items()}
    path = folder / "checkpoint.safetensors"
    safetensors_file.save(path, arrays, {"progress": json.dumps(progress)})
    return path


def test_a_checkpoint_is_loaded(tmp_path: Path) -> None:
    velocity = {"velocity/classifier.bias": np.arange(10, dtype=np.float32)}
    progress, weights, state = run_folder.load(write_checkpoint(tmp_path, optimizer=velocity), SPEC)
    assert progress == run_folder.TrainingProgress("d") and progress.epoch == 0
    assert weights.keys() == SPEC.weights.keys() and state.keys() == velocity.keys()
    assert np.array_equal(state["velocity/classifier.bias"], np.arange(10))


@pytest.mark.parametrize(
    "progress",
    [
        [],
        3,
        {},
        {**PROGRESS, "history": 3},
        {**PROGRESS, "history": [3]},
        {**PROGRESS, "history": [{}]},
        {**PROGRESS, "history": [dict.fromkeys(run_folder.METRICS, "1")]},
        {**PROGRESS, "images": None},
        {**PROGRESS, "digest": 3},
        {**PROGRESS, "resizer": 4},
        {**PROGRESS, "more": 3},
    ],
)
def test_a_checkpoint_with_invalid_progress_is_refused(tmp_path: Path, progress: object) -> None:
    with pytest.raises(ReproError, match="was not written by a training run"):
        run_folder.load(write_checkpoint(tmp_path, progress=progress), SPEC)


def test_a_weight_file_is_not_a_checkpoint(tmp_path: Path) -> None:
    safetensors_file.save(tmp_path / "w.safetensors", initialise(SPEC, 0))
    with pytest.raises(ReproError, match="was not written by a training run"):
        run_folder.load(tmp_path / "w.safetensors", SPEC)


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    weights = initialise(find_spec("asymmnet_small_x0_35", num_classes=7), 0)
    with pytest.raises(ReproError, match=r"classifier.weight has shape \(7, 1280\) instead of \(10, 1280\)"):
        run_folder.load(write_checkpoint(tmp_path, weights=weights), SPEC)


def test_the_arrays_of_all_optimizers_are_loaded(tmp_path: Path) -> None:
    zeros = np.zeros(10, np.float32)
    optimizer = {f"{slot}/classifier.bias": zeros for slot in ("moment1", "moment2", "square", "ema")}
    optimizer |= {"steps": np.array(7), **LossScale(8.0, 9).state()}
    _, _, state = run_folder.load(write_checkpoint(tmp_path, optimizer=optimizer), SPEC)
    assert state.keys() == optimizer.keys() and int(state["steps"]) == 7
    assert (float(state["loss_scale"]), int(state["good_steps"])) == (8, 9)


@pytest.mark.parametrize("steps", [np.array(-1), np.zeros(2, np.int64), np.array(0.5), np.zeros(0, np.int64)])
def test_an_invalid_step_count_is_refused(tmp_path: Path, steps: np.ndarray) -> None:
    with pytest.raises(ReproError, match="step count is not an integer from 0; start a new run"):
        run_folder.load(write_checkpoint(tmp_path, optimizer={"steps": steps}), SPEC)


@pytest.mark.parametrize("scale", [0.5, float("nan"), float("inf"), [1.0]])
def test_an_invalid_loss_scale_is_refused(tmp_path: Path, scale: object) -> None:
    with pytest.raises(ReproError, match="the loss scale is not a number from 1; start a new run"):
        run_folder.load(write_checkpoint(tmp_path, optimizer={"loss_scale": np.array(scale, np.float32)}), SPEC)


@pytest.mark.parametrize(
    "optimizer", [{"velocity/classifier.bias": np.zeros(9)}, {"velocity/nothing": np.zeros(1)}, {"step": np.zeros(1)}]
)
def test_optimizer_arrays_that_do_not_fit_a_weight_are_refused(tmp_path: Path, optimizer: Arrays) -> None:
    with pytest.raises(ReproError, match="does not fit a weight of asymmnet_small_x0_35"):
        run_folder.load(write_checkpoint(tmp_path, optimizer=optimizer), SPEC)
