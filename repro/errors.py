"""The one kind of error that a user sees: a line that names the thing, what is wrong with it, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ReproError(Exception):
    """A mistake in what the user gave; the commands print its text in one line and exit with 1."""


def unknown(thing: str, name: object, known: Iterable[str]) -> ReproError:
    """The error for a name that nobody knows, with the nearest known ones."""
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names[:12])}"
    return ReproError(f"unknown {thing} {name!r}: {hint}")


def first_line(error: Exception) -> str:
    """Of what a framework's error says, or the name of its type where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
