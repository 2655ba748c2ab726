"""How many steps Adam made, by what files say of it."""

from __future__ import annotations

import numpy as np
import pytest

from repro.weights.steps import MOST, steps_made


@pytest.mark.parametrize(
    ("counts", "expected", "reason"),
    [
        ([np.array(0)], 0, ""),
        ([np.array([7], "int32"), np.array(7.0, "float32")], 7, ""),
        ([np.array(MOST)], MOST, ""),
        ([np.array(-1)], None, "it is -1, no whole number from 0 to 2147483647"),
        ([np.array(2.5)], None, "it is 2.5, no whole"),
        ([np.array(np.nan)], None, "it is nan, no whole"),
        ([np.array(np.inf)], None, "it is inf, no whole"),
        ([np.array(2**62)], None, "e+18, no whole"),
        ([np.array(3), np.array(5), np.array(4)], None, "it differs among parameters: 3 and 5"),
        ([np.array([3, 3])], None, "it is no number"),
        ([np.array(True)], None, "it is no number"),
        ([], None, "the file does not say"),
    ],
)
def test_a_count_is_believed_where_it_is_one(counts: list[np.ndarray], expected: int | None, reason: str) -> None:
    said: list[str] = []
    assert steps_made(counts, [[], []], said.append) == expected
    assert len(said) == 1
    assert reason in said[0]


def power(beta: float, steps: int) -> list[np.ndarray]:
    """What Paddle has of a beta after so many steps: seen to be the same to the bit up to 99,000."""
    return [np.multiply.accumulate(np.full(steps + 1, beta, "float32"))[-1:]] * 2


@pytest.mark.parametrize("steps", [0, 1, 3, 830, 10_000, 50_000, 80_000, 87_000])
def test_steps_are_worked_out_from_paddles_powers(steps: int) -> None:
    assert steps_made([], [power(0.9, steps), power(0.999, steps)], str) == steps


@pytest.mark.parametrize(
    "powers",
    [
        [power(0.95, 3), power(0.999, 3)],
        [power(0.9, 3), power(0.99, 3)],
        [power(0.9, 3), power(0.999, 4)],
        [power(0.9, 90_000), power(0.999, 90_000)],  # float32 is exhausted
        [[np.array([0.0])], [np.array([0.0])]],
        [[np.array([np.nan])], [np.array([np.nan])]],
        [[np.array([1e300])], [np.array([-1e300])]],
        [power(0.9, 3), []],
        [power(0.9, 3), power(0.999, 3) + power(0.999, 4)],
    ],
)
def test_other_powers_tell_nothing(powers: list[list[np.ndarray]]) -> None:
    said: list[str] = []
    assert steps_made([], powers, said.append) is None
    assert len(said) == 1
    assert said[0].startswith("left out how many steps the optimizer made: ")
