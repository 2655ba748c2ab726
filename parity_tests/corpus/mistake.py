"""A planted mistake, and what is expected of the comparison."""

from __future__ import annotations

from typing import NamedTuple


class Mistake(NamedTuple):
    """An edit that makes a port wrong; for a sound port, no edit.

    network: cnn, attention or resize; framework: that of the edited file, which is compared with a sound one of
    another; old, new: text, where `old` occurs once, and "" in a sound port; place, cause: regular expressions for the
    report on the first culprit.
    """

    name: str
    network: str
    framework: str
    old: str
    new: str
    place: str
    cause: str

    @property
    def is_sound(self) -> bool:
        """Return whether nothing is edited."""
        return not self.old

    @property
    def title(self) -> str:
        """The network, the framework and the name, as in a row of the table."""
        return f"{self.network} {self.framework} {self.name}"


def sound(network: str, framework: str) -> Mistake:
    """A port without a mistake."""
    return Mistake("no mistake", network, framework, "", "", "", "")


def planted(network: str, framework: str, *rows: tuple[str, str, str, str, str]) -> list[Mistake]:
    """Mistakes in one file, from rows (name, old, new, place, cause)."""
    return [Mistake(name, network, framework, *rest) for name, *rest in rows]
