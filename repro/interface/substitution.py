"""Helpers for forward passes in which values of modules are replaced, the same in every backend."""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path

from repro.interface.module_outputs import unique_name

LIBRARIES = ("torch", "paddle", "mindspore", "keras", "repro", "backends")


class ValueNames:
    """The names of the values that modules take and return in one forward pass, and where their modules are called.

    places: "FILE:LINE" of the call by the name of the value.
    """

    def __init__(self, selected: Collection[str]):
        """selected: the names to be recorded."""
        self.selected = set(selected)
        self.taken: dict[str, str] = {}
        self.places: dict[str, str] = {}

    def next(self, name: str) -> str | None:
        """The name of a value that is being computed: "NAME (2)" the second time; None unless it is selected."""
        unique = unique_name(name, self.taken)
        self.taken[unique] = name
        if unique not in self.selected:
            return None
        self.places[unique] = call_place()
        return unique


def call_place() -> str:
    """The innermost line of the call stack, as "FILE:LINE", that is neither a framework's nor this package's.

    "" where there is none: Keras calls the layers of a model that was made by calling layers.
    """
    frame = sys._getframe(1)
    while frame.f_globals.get("__name__", "").partition(".")[0] in LIBRARIES and frame.f_back:
        frame = frame.f_back
    if frame.f_globals.get("__name__") == "__main__":  # the worker's own script
        return ""
    return f"{short_path(frame.f_code.co_filename)}:{frame.f_lineno}"


def short_path(file: str) -> str:
    """A file relative to the folder from which Python imports it."""
    path = Path(file)
    return next((str(path.relative_to(folder)) for folder in sys.path if path.is_relative_to(folder or ".")), file)


def replace_first(value: object, new: object) -> object:
    """The input or output of a module with its first value replaced."""
    return type(value)((new, *value[1:])) if isinstance(value, (tuple, list)) else new
