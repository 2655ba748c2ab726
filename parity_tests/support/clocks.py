"""A clock that a test moves."""

from __future__ import annotations

from collections.abc import Callable


class Clock:
    """A clock of whole seconds that moves only where a test lets time pass."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def __call__(self) -> float:
        """The seconds since the start of the test."""
        return self.now

    def work(self, name: str, *seconds: float) -> Callable[[], None]:
        """A function that takes these numbers of seconds, one after the other, and notes its name."""
        durations = iter(seconds)

        def function() -> None:
            self.calls.append(name)
            self.now += next(durations)

        return function
