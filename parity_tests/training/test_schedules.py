"""Learning-rate schedules."""

from __future__ import annotations

import itertools
import math

import pytest

from repro.training.schedules import SCHEDULES, learning_rate


def test_cosine_decays_with_every_step() -> None:
    rates = [learning_rate("cosine", 0.05, step, steps=5, epochs=4) for step in range(20)]
    assert rates[0] == 0.05 and rates[10] == pytest.approx(0.025) and rates[5] == pytest.approx(0.042678, abs=1e-6)
    assert all(a > b > 0 for a, b in itertools.pairwise(rates))


def test_cosine_epoch_decays_with_every_epoch() -> None:
    rates = [learning_rate("cosine-epoch", 0.05, step, steps=5, epochs=4) for step in range(20)]
    assert rates[:5] == [0.05] * 5 and len(set(rates)) == 4
    assert rates[5] == pytest.approx(0.05 * (1 + math.cos(math.pi / 4)) / 2)


def test_constant_does_not_change() -> None:
    assert {learning_rate("constant", 0.3, step, steps=5, epochs=4) for step in range(20)} == {0.3}


def test_step_is_divided_by_10_after_each_third() -> None:
    rates = [learning_rate("step", 1.0, step, steps=3, epochs=3) for step in range(9)]
    assert rates == pytest.approx([1.0] * 3 + [0.1] * 3 + [0.01] * 3)


def test_step_half_is_divided_by_10_after_a_half_and_after_three_quarters() -> None:
    rates = [learning_rate("step-half", 1.0, step, steps=4, epochs=2) for step in range(8)]
    assert rates == pytest.approx([1.0] * 4 + [0.1] * 2 + [0.01] * 2)


def test_exponential_decays_every_2_4_epochs() -> None:
    rates = [learning_rate("exponential", 1.0, step, steps=5, epochs=6) for step in range(30)]
    assert rates == pytest.approx([1.0] * 12 + [0.97] * 12 + [0.97**2] * 6)


@pytest.mark.parametrize("schedule", ["cosine", "cosine-epoch", "linear"])
def test_a_schedule_decays_to_its_end_instead_of_0(schedule: str) -> None:
    def rates(end: float) -> list[float]:
        return [learning_rate(schedule, 2.0, step, steps=5, epochs=4, end=end) for step in range(20)]

    assert rates(0.1) == pytest.approx([0.2 + 0.9 * rate for rate in rates(0.0)])


def test_linear_decays_evenly() -> None:
    assert [learning_rate("linear", 1.0, step, steps=2, epochs=2) for step in range(4)] == [1.0, 0.75, 0.5, 0.25]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_warm_up_increases_to_the_base_rate(schedule: str) -> None:
    """The warm-up is linear (Goyal et al., arXiv:1706.02677, section 2.2), and no learning rate is 0."""
    rates = [learning_rate(schedule, 0.4, step, steps=4, epochs=3, warmup=1) for step in range(12)]
    assert rates[:5] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4])
    assert min(rates) > 0
    assert rates[4:] == [learning_rate(schedule, 0.4, step, steps=4, epochs=2) for step in range(8)]
