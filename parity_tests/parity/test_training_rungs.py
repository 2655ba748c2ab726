"""repro.parity.training_rungs and tolerance: no false alarms, tolerances, and learning rates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from repro.parity import training_rungs
from repro.parity.ladder import run_rungs
from repro.parity.tolerance import LARGEST_ERROR_FACTOR, LEAST_RELATIVE_TOLERANCE, measure_tolerances, perturb_last_bits
from repro.specs import find_spec
from repro.workers.client import Worker


@pytest.mark.slow
def test_no_false_alarm(judged_workers: dict[str, Worker]) -> None:
    """A few of the seeds that `repro.parity --seeds 50` compares."""
    model, rungs = "asymmnet_small_x0_35_r0", [1, 2, 3, 4]
    records = [record for seed in range(1, 5) for record in run_rungs(model, rungs, judged_workers, seed)]
    assert len(records) == 4 * 4 * len(judged_workers)
    assert [record.sentence for record in records if record.diverges] == []


def test_tolerance_grows_with_the_error_of_float32() -> None:
    exact = {"a": np.array([1.0, 2.0]), "b": np.array([0.0, 0.0]), "c": np.array([1.0, 1.0])}
    runs = [
        {"a": np.array([1.0, 2.0 + error], "float32"), "b": np.array([error, 0], "float32"), "c": np.ones(2, "float32")}
        for error in (1e-3, 3e-3)
    ]
    tolerances = measure_tolerances(runs, exact)
    assert tolerances["a"] == pytest.approx(LARGEST_ERROR_FACTOR * 3e-3, rel=1e-3)
    assert tolerances["b"] == pytest.approx(LARGEST_ERROR_FACTOR * 3e-3, rel=1e-3)
    assert tolerances["c"] == pytest.approx(LEAST_RELATIVE_TOLERANCE)
    runs[0]["a"] = np.array([np.nan, 2], "float32")
    assert measure_tolerances(runs, exact)["a"] == 0  # the reference is broken, so no error counts as rounding


def test_perturbed_images_differ_in_their_last_bits() -> None:
    images = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype("float32")
    other = perturb_last_bits(images, 1)
    assert other.dtype == np.float32
    assert (other != images).all()
    assert np.abs(other - images).max() <= np.spacing(np.abs(images).max())
    assert not np.array_equal(other, perturb_last_bits(images, 2))


def test_networks_without_normalisation_take_smaller_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """VGG-19 would overflow within three larger steps."""
    rate_lists: list[list[float]] = []

    def request_all(*_: object, rates: list[float], **__: object) -> dict[str, Any]:
        rate_lists.append(rates)
        return {}

    def judge(_spec: object, _rung: int, workers: Any, computations: list[Any], _weights: object) -> list[Any]:
        return [computation.compute(workers, {}, float64=False, every_module=False) for computation in computations]

    monkeypatch.setattr(training_rungs, "request_all", request_all)
    monkeypatch.setattr(training_rungs, "judge", judge)
    for name in ("vgg19", "vgg19_bn", "resnet50"):
        training_rungs.compare_trajectories(find_spec(name), {}, {}, 0)
    usual = [training_rungs.LEARNING_RATE] * training_rungs.TRAJECTORY_STEPS
    assert rate_lists == [[training_rungs.LEARNING_RATE / 10] * training_rungs.TRAJECTORY_STEPS, usual, usual]
