"""Helpers for the outputs of modules, the same in every backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def unique_name(name: str, taken: Mapping[str, object]) -> str:
    """`name`, or "name (2)", "name (3)" and so on where it is taken: a module may run more than once."""
    number, candidate = 1, name
    while candidate in taken:
        number += 1
        candidate = f"{name} ({number})"
    return candidate


def first_output(value: Any) -> Any:
    """The value of a module's input or output; the first one where a module takes or returns several."""
    return value[0] if isinstance(value, (tuple, list)) and value else value
