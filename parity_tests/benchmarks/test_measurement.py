"""Tests of repro.benchmarks.measurement, with a clock that the tests move."""

from __future__ import annotations

import json

import pytest

from parity_tests.support.clocks import Clock
from repro.benchmarks.measurement import HEADING, SpeedComparison, in_turn, number, spread, timed


def test_tasks_take_turns_and_the_first_round_does_not_count() -> None:
    clock = Clock()
    work = {"ours": clock.work("ours", 9, 1, 2), "zoo": clock.work("zoo", 8, 3, 4)}
    seconds = in_turn({name: timed(function, clock) for name, function in work.items()}, 2)
    assert clock.calls == ["ours", "zoo"] * 3
    assert seconds == {"ours": [1, 2], "zoo": [3, 4]}


def test_times_without_warm_up() -> None:
    clock = Clock()
    assert in_turn({"a": timed(clock.work("a", 5), clock)}, 1, warm_up=0) == {"a": [5]}


def test_a_ratio_is_above_1_where_ours_is_faster() -> None:
    times = SpeedComparison("task", "ms", {"ours": [1, 2], "zoo": [3, 4], "other": [0.5, 1]})
    assert times.ratios() == {"zoo": [3, 2], "other": [0.5, 0.5]}
    rates = SpeedComparison("task", "images/s", {"ours": [30, 40], "torchvision": [10, 20]})
    assert rates.ratios() == {"torchvision": [3, 2]}


def test_ranks_are_not_compared() -> None:
    ranks = SpeedComparison("step", "ms", {"rank 0": [1], "rank 1": [2]}, None)
    assert ranks.ratios() == {}
    assert [line.split() for line in ranks.lines()] == [
        ["step", "rank", "0", "1.00", "±", "0.00", "ms"],
        ["step", "rank", "1", "2.00", "±", "0.00", "ms"],
    ]


def test_lines_have_median_spread_and_ratio() -> None:
    ours, zoo = SpeedComparison("step", "ms", {"ours": [10, 20, 30, 40, 100], "zoo": [20, 40, 60, 80, 200]}).lines()
    assert ours.split() == ["step", "ours", "30.0", "±", "10.0", "ms"]
    assert zoo.split() == ["step", "zoo", "60.0", "±", "20.0", "ms", "2.00", "±", "0.00"]
    assert HEADING.index("ratio") + len("ratio") == zoo.index("2.00") + len("2.00")


@pytest.mark.parametrize(("values", "expected"), [([7], 0), ([1, 3], 0.5), ([0, 1, 2, 3, 100], 1)])
def test_spread_is_half_the_interquartile_range(values: list[float], expected: float) -> None:
    assert spread(values) == expected


@pytest.mark.parametrize(("value", "text"), [(1234.5, "1,234"), (99.96, "100.0"), (12.34, "12.3"), (0.123, "0.12")])
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text


def test_json_has_every_number() -> None:
    comparison = SpeedComparison("step", "ms", {"ours": [1.0, 2.0], "zoo": [3.0, 4.0]})
    assert json.loads(json.dumps(comparison.as_json())) == {
        "task": "step", "unit": "ms", "reference": "ours", "values": {"ours": [1, 2], "zoo": [3, 4]},
        "medians": {"ours": 1.5, "zoo": 3.5}, "ratios": {"zoo": [3, 2]},
    }  # fmt: skip
