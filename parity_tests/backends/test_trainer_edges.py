"""Edge cases of the trainers: weights without a gradient, step counts from a file, dropout of user models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[..., Any]


def test_paddle_rmsprop_skips_a_weight_without_a_gradient(
    run_program: Run, require_backend: Callable[[str], None]
) -> None:
    require_backend("paddle")
    run_program("paddle", "trainer_edges:paddle_rmsprop_skips_unused_weights")


def test_a_claimed_number_of_steps_costs_no_memory(run_program: Run, require_backend: Callable[[str], None]) -> None:
    require_backend("paddle")
    run_program("paddle", "trainer_edges:paddle_power_costs_no_memory")


def test_mindspore_refuses_dropout_that_has_no_mask_of_its_own(
    run_program: Run, require_backend: Callable[[str], None]
) -> None:
    require_backend("mindspore")
    own, twice = run_program("mindspore", "trainer_edges:mindspore_refuses_dropouts")
    assert "is nn.Dropout, which draws its own random numbers in a compiled step" in own
    assert " runs more than once in a step, and a compiled step has one mask for each dropout layer" in twice


@pytest.mark.slow
def test_torch_compiles_a_network_with_dropout(run_program: Run, require_backend: Callable[[str], None]) -> None:
    require_backend("torch")
    first, second = run_program("torch", "trainer_edges:torch_compiles")
    # normalisation lets rounding grow from step to step; other dropped values would change a third
    assert 0 < first < 1e-4
    assert second < 0.01


@pytest.mark.slow
def test_a_missing_compiler_is_named(
    run_program: Run, require_backend: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    require_backend("torch")
    monkeypatch.setenv("CXX", "/nowhere/g++")
    monkeypatch.setenv("TORCHINDUCTOR_FORCE_DISABLE_CACHES", "1")
    error = run_program("torch", "trainer_edges:error_of_compiled_step", "torch")
    assert error.startswith("torch.compile fails (") and error.endswith("); leave compiled out")
    assert "No working C++ compiler found" in error and "\n" not in error


def test_paddle_refuses_to_compile(run_program: Run, require_backend: Callable[[str], None]) -> None:
    require_backend("paddle")
    error = run_program("paddle", "trainer_edges:error_of_compiled_step", "paddle")
    assert error.startswith("compiled is true: this backend of Paddle trains in eager mode only")
