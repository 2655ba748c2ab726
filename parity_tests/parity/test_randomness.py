"""repro.interface.draws and repro.workers.repetition: modules that draw, and results that differ between two runs."""

from __future__ import annotations

import random

import numpy as np

from repro.interface.draws import DrawWatcher
from repro.workers.repetition import first_difference


def test_the_innermost_module_that_draws_is_named() -> None:
    framework = [0]
    watcher = DrawWatcher(lambda: framework[0])
    watcher.begin("")
    watcher.begin("block")
    watcher.begin("block.drop")
    framework[0] += 1
    watcher.end()
    watcher.end()
    assert watcher.drawing == ["block.drop"]
    np.random.rand()  # behind the block, in the model itself
    watcher.begin("head")
    random.random()
    watcher.end()
    watcher.end()
    assert watcher.drawing == ["block.drop", "", "head"]


def test_generators_of_their_own_are_not_seen() -> None:
    watcher = DrawWatcher(lambda: 0)
    watcher.begin("drop")
    np.random.default_rng(0).random()
    random.Random(0).random()
    watcher.end()
    assert watcher.drawing == []


def test_the_first_difference_of_two_runs() -> None:
    values = np.random.default_rng(0).normal(0, 1, 100).astype(np.float32)
    first = {"stem": values, "head": values, "broken": np.full(2, np.nan)}
    assert first_difference(first, {name: array.copy() for name, array in first.items()}) == ""
    assert first_difference(first, first | {"head": np.nextafter(values, np.float32(9))}) == ""
    assert first_difference(first, first | {"head": values + np.float32(1e-4)}) == "head"
    assert first_difference(first, first | {"stem": values[:-1], "head": values + 1}) == "stem"
    assert first_difference(first, first | {"broken": np.array([np.nan, 1])}) == "broken"
    assert first_difference(first, {"stem": values}) == "head"
    assert first_difference({"stem": values}, first) == "head"
