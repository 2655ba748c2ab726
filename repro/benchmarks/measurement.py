"""Measurements of tasks that take turns, and their output as a table and as JSON."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

OURS = "ours"


def in_turn(tasks: Mapping[str, Callable[[], float]], rounds: int, *, warm_up: int = 1) -> dict[str, list[float]]:
    """Return what each task measured in each round. The tasks take turns, so that load of other programs affects all.

    warm_up: the number of rounds that are run first and not counted.
    """
    values: dict[str, list[float]] = {name: [] for name in tasks}
    for number in range(-warm_up, rounds):
        for name, task in tasks.items():
            value = task()
            values[name] += [value] if number >= 0 else []
    return values


def timed(function: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> Callable[[], float]:
    """Return a task for in_turn that calls a function and measures the seconds."""

    def task() -> float:
        start = clock()
        function()
        return clock() - start

    return task


def spread(values: Sequence[float]) -> float:
    """Return half the interquartile range; 0 for a single value."""
    if len(values) < 2:
        return 0.0
    lower, _, upper = quantiles(values, n=4, method="inclusive")
    return (upper - lower) / 2


@dataclass(frozen=True)
class SpeedComparison:
    """The measurements of one task by ours and its peers.

    unit: "ms", "s", "images/s" or "images". values: name ("ours", or that of a peer) -> every single measurement.
    reference: the name that is compared with the others; None where nothing is compared.
    """

    task: str
    unit: str
    values: Mapping[str, Sequence[float]]
    reference: str | None = OURS

    def ratios(self) -> dict[str, list[float]]:
        """Return, for each of the other names, how many times as fast as it the reference is in each round."""
        if self.reference is None:
            return {}
        own = self.values[self.reference]
        pairs = {name: zip(own, values, strict=True) for name, values in self.values.items() if name != self.reference}
        is_rate = self.unit.endswith("/s")
        return {name: [a / b if is_rate else b / a for a, b in values] for name, values in pairs.items()}

    def lines(self) -> list[str]:
        """Return one line per name: the median, half the interquartile range, and the ratio."""
        ratios = self.ratios()
        lines = []
        for name, values in self.values.items():
            ratio = f"{median(ratios[name]):8.2f} ± {spread(ratios[name]):.2f}" if name in ratios else ""
            figures = f"{number(median(values)):>8} ± {number(spread(values)):<6} {self.unit:9}"
            lines.append(f"{self.task:46}{name:21}{figures}{ratio}".rstrip())
        return lines

    def as_json(self) -> dict[str, Any]:
        """Return the measurements, their medians and their ratios as a JSON object."""
        return {
            "task": self.task, "unit": self.unit, "reference": self.reference,
            "values": {name: list(values) for name, values in self.values.items()},
            "medians": {name: median(values) for name, values in self.values.items()},
            "ratios": self.ratios(),
        }  # fmt: skip


def number(value: float) -> str:
    """Return a number as text: without decimals from 100 on, with one from 10 on, and otherwise with two."""
    return f"{value:,.{0 if value >= 100 else 1 if value >= 10 else 2}f}"


HEADING = f"{'task':46}{'who':21}{'median':>8} ± {'spread':6} {'unit':9}{'ratio':>8}"
