"""Edge cases of the trainers: weights without a gradient, step counts from a file, dropout of user models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Run = Callable[..., Any]


def test_paddle_rmsprop_skips_a_weight_without_a_gradient(
    run_program: Run, require_backend: Callable[[str], None]
) -> None:
    require_backend("paddle")
    run_program("paddle", "trainer_edges:paddle_rmsprop_skips_unused_weights")


def test_a_claimed_number_of_steps_costs_no_memory(run_program: Run, require_backend: Callable[[str], None]) -> None:
    require_backend("paddle")
    run_program("paddle", "trainer_edges:paddle_power_costs_no_memory")


def test_mindspore_refuses_dropout_that_draws_by_itself(
    run_program: Run, require_backend: Callable[[str], None]
) -> None:
    require_backend("mindspore")
    error = run_program("mindspore", "trainer_edges:mindspore_refuses_its_own_dropout")
    assert "is nn.Dropout, which draws its own random numbers in a compiled step" in error
