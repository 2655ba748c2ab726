"""The loss scale of float16 adapts to the gradients, and a step whose gradients overflow is skipped as a whole."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from repro.errors import ReproError
from repro.interface import TrainSettings
from repro.interface.loss_scale import LossScale
from repro.specs import find_spec

Run = Callable[..., Any]
Require = Callable[[str], None]

every_backend = pytest.mark.parametrize("backend", ["torch", "mindspore"])


def test_the_scale_halves_and_doubles() -> None:
    scale = LossScale()
    assert not scale.update(is_finite=False)
    assert scale == LossScale(32768.0, 0)
    for step in range(1, 2000):
        assert scale.update(is_finite=True)
        assert scale == LossScale(32768.0, step)
    assert scale.update(is_finite=True)
    assert scale == LossScale(65536.0, 0)
    scale.update(is_finite=True)
    assert not scale.update(is_finite=False)  # steps must be consecutive
    assert scale == LossScale(32768.0, 0)


def test_the_scale_stays_a_number_of_float32() -> None:
    scale = LossScale(2.0**127, 1999)
    assert scale.update(is_finite=True)
    assert scale == LossScale(2.0**127, 0)
    scale = LossScale(2.0)
    assert not scale.update(is_finite=False)
    with pytest.raises(ReproError, match=r"^the gradients overflow float16 even with a loss scale of 1; start .*$"):
        scale.update(is_finite=False)


def test_the_state_of_a_scale_round_trips() -> None:
    scale, state = LossScale(), LossScale(8.0, 5).state()
    assert [(array.dtype.name, array.shape) for array in state.values()] == [("float32", ()), ("int64", ())]
    scale.load_state({name: np.array(array) for name, array in state.items()})
    assert scale == LossScale(8.0, 5)


def test_the_scale_is_part_of_the_state() -> None:
    spec = find_spec("asymmnet_small_x0_35")
    half = TrainSettings(precision="float16")
    state = half.complete_state({}, spec)
    assert (float(state["loss_scale"]), int(state["good_steps"])) == (65536, 0)
    assert half.complete_state(state, spec).keys() == state.keys()
    with pytest.raises(ReproError, match="good_steps is missing"):  # of a run under the former, fixed scale
        half.complete_state(TrainSettings().complete_state({}, spec), spec)


@every_backend
@pytest.mark.parametrize("compiled", [False, True])
def test_a_step_that_overflows_is_skipped(
    backend: str, compiled: bool, run_program: Run, require_backend: Require
) -> None:
    require_backend(backend)
    results = run_program(backend, "loss_scale:overflow", backend, compiled)
    assert math.isfinite(results["loss"])
    assert results["skipped"] and results["halved"] == [2.0**59, 0]
    assert {"classifier.bias", "moment1/classifier.bias", "ema/classifier.bias", "steps"} <= {*results["changed"]}
    assert (results["steps"], results["kept"], results["doubled"]) == (1, [256, 1999], [512, 0])
    assert results["unchanged"] and results["infinite"] == [1, 0]
    assert "even with a loss scale of 1" in results["error"]


@every_backend
def test_a_resumed_run_has_the_same_scale(backend: str, run_program: Run, require_backend: Require) -> None:
    require_backend(backend)
    assert run_program(backend, "loss_scale:resume", backend)


@every_backend
def test_an_overflow_in_one_part_skips_the_step(backend: str, run_program: Run, require_backend: Require) -> None:
    """Two processes are tested in test_processes.py."""
    require_backend(backend)
    run_program(backend, "loss_scale:skip_an_overflow", backend)
