"""Modules that draw random numbers which the frameworks do not share."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np


class DrawWatcher:
    """Finds the modules that draw, by comparing the states of random generators whenever a module begins or ends.

    Python's and NumPy's generators are watched, too, since stochastic depth is often written with them.
    """

    def __init__(self, framework_state: Callable[[], Any]):
        """framework_state: returns the state of the framework's generator, comparable with ==."""
        self.framework_state = framework_state
        self.drawing: list[str] = []  # names of modules in the order of their first draw; "" for the model itself
        self.running: list[str] = []  # names of the modules that have begun and not ended
        self.state = self._read_state()

    def begin(self, name: str) -> None:
        """Note that a module begins."""
        self._notice_draws()
        self.running.append(name)

    def end(self) -> None:
        """Note that the module that began last ends."""
        self._notice_draws()
        if self.running:
            self.running.pop()

    def _notice_draws(self) -> None:
        state = self._read_state()
        name = self.running[-1] if self.running else ""
        if state != self.state and name not in self.drawing:
            self.drawing.append(name)
        self.state = state

    def _read_state(self) -> tuple[Any, ...]:
        _, numbers, *position = np.random.get_state(legacy=True)
        return self.framework_state(), random.getstate(), np.asarray(numbers).tobytes(), *position
