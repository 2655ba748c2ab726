"""Training steps of the backends against one another: losses, weights, optimizer states and dropout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from repro.interface.discovery import SHIPPED
from repro.weights import safetensors_file

Run = Callable[..., Any]
Require = Callable[[str], None]


def test_training_steps_agree(run_program: Run, require_backend: Require, tmp_path: Path) -> None:
    """Loss, logits, weights, running statistics and velocities after one and two steps, with decay on every weight."""
    records = {}
    for backend in SHIPPED:
        require_backend(backend)
        path = tmp_path / f"{backend}.safetensors"
        assert run_program(backend, "trainer:two_steps", backend, str(path)) == "repeatable predictions"
        records[backend] = safetensors_file.load(path)[0]
    reference = records.pop("torch")
    for backend, arrays in records.items():
        assert set(arrays) == set(reference)
        for name, array in arrays.items():
            expected = reference[name]
            assert array.shape == expected.shape, name
            assert np.isfinite(array).all(), name
            scale = max(1e-2, np.abs(expected).max())  # some gradients are zero up to rounding
            tolerance = 5e-3 if "velocity" in name or name == "predict" else 5e-4
            assert np.abs(array - expected).max() <= tolerance * scale, (backend, name)


def test_a_trainer_returns_copies(backend: str, run_program: Run) -> None:
    """They are written in the background, while the trainer changes its tensors."""
    run_program(backend, "trainer:check_copies", backend)


@pytest.mark.slow
def test_all_backends_drop_the_same_values(run_program: Run, require_backend: Require) -> None:
    """Compiled steps, a batch of another size, and a run resumed from the second epoch draw the same dropout."""
    losses: dict[tuple[str, int], list[float]] = {}
    for backend in SHIPPED:
        require_backend(backend)
        for start in (1, 2):
            losses[backend, start] = run_program(backend, "trainer:losses_with_dropout", backend, start)
    reference = losses["torch", 1]
    assert len(set(reference)) == len(reference)
    for (backend, start), values in losses.items():
        expected = reference[-len(values) :]
        np.testing.assert_allclose(values, expected, rtol=2e-5, err_msg=f"{backend} from epoch {start}")
        assert values == losses[backend, 1][-len(values) :]


@pytest.mark.slow
def test_mindspore_compiles_a_deep_network(run_program: Run, require_backend: Require) -> None:
    """The graph nests more than 1,000 calls, which is where MindSpore stops by default."""
    require_backend("mindspore")
    loss, shape = run_program("mindspore", "trainer:step_of_rdnet")
    assert np.isfinite(loss)
    assert shape == [2, 2]


def test_mindspore_sums_long_vectors_repeatably(run_program: Run, require_backend: Require) -> None:
    """MindSpore's own sum of a long vector differs from call to call."""
    require_backend("mindspore")
    for size, (sums, expected) in run_program("mindspore", "trainer:compiled_sums").items():
        assert len(set(sums)) == 1, size
        assert abs(sums[0] / expected - 1) < 1e-5, size


def test_mindspore_keeps_to_one_core_in_eager_mode(run_program: Run, require_backend: Require) -> None:
    """Its eager threads wait in busy loops, which would keep other processes from the cores."""
    require_backend("mindspore")
    cores = run_program("mindspore", "trainer:cores_of_threads")
    assert cores["after forward"] == cores["after training"] == cores["before"]
    assert len(cores["inside"]) == 3
    for core_sets in cores["inside"]:
        assert len(core_sets) == 1 and len(core_sets[0]) == 1, cores
