"""A place at which a user model errs by itself, and why."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Culprit:
    """A place at which a model errs by itself, whatever went wrong before it.

    rung: the first on which it shows; place: under the names of the first model; other_place: under those of the other
    one; cause: a clause; modules: how each framework writes what runs there, "" where it is not a module; calls:
    "FILE:LINE" in the code of each model, or "".
    """

    rung: int
    backend: str
    place: str
    other_place: str
    cause: str
    modules: tuple[str, str] = ("", "")
    calls: tuple[str, str] = ("", "")

    @property
    def sentence(self) -> str:
        """The place and the cause."""
        where = self.place if self.other_place == self.place else f"{self.place} ({self.backend}: {self.other_place})"
        return f"{where}: {self.cause}"
