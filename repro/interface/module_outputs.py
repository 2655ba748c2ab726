"""Helpers for the outputs of modules, the same in every backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def again(name: str, arrays: Mapping[str, object]) -> str:
    """The name, or "name (2)" and so on where `arrays` has it already."""
    number, found = 1, name
    while found in arrays:
        number += 1
        found = f"{name} ({number})"
    return found


def first(value: Any) -> Any:
    """What a module puts out or is given: the first where there are several."""
    return value[0] if isinstance(value, (tuple, list)) and value else value
