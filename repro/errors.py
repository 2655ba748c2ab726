"""The error that users see: a line that names the value, the problem and the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ReproError(Exception):
    """A mistake in the user's input. Commands print its text on one line and exit with 1."""


def unknown(noun: str, name: object, known: Iterable[str]) -> ReproError:
    """Return the error for an unknown name, with the nearest known names."""
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names[:12])}"
    return ReproError(f"unknown {noun} {name!r}: {hint}")


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun: "1 array", "1,200 arrays", "2 mismatches". plural: the noun with "s" if None."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def first_line(error: Exception) -> str:
    """Return the first line of an exception's text, or the name of its type where the text is empty."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
