"""Types of recipe values: which values are valid, how they are converted, and how argparse shows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from repro.choices import EVERY_FIFTH, SPLIT_FRACTION, Range


@dataclass(frozen=True)
class ValueType:
    """The type of a recipe value.

    convert: returns the value with its final type, from a value of a YAML file or the text of a flag, or raises
    ValueError, TypeError or OverflowError.
    """

    description: str  # completes "KEY must be ..."
    convert: Callable[[Any], Any]
    argument: dict[str, Any]  # keyword arguments of add_argument
    limits: str = ""  # the range of numbers, for --help


def text(metavar: str) -> ValueType:
    """Return the type of a text that is not empty."""

    def convert(value: Any) -> str:
        if not isinstance(value, str) or not value:
            raise ValueError
        return value

    return ValueType("text", convert, {"metavar": metavar})


def one_of(*names: str) -> ValueType:
    """Return the type of a choice among names."""

    def convert(value: Any) -> str:
        if value not in names:
            raise ValueError
        return value

    return ValueType(f"one of {', '.join(names)}", convert, {"metavar": f"{{{','.join(names)}}}"})


def one_of_integers(*numbers: int) -> ValueType:
    """Return the type of a choice among integers."""
    choices = [str(number) for number in numbers]

    def convert(value: Any) -> int:
        if isinstance(value, (bool, float)) or int(value) not in numbers:
            raise ValueError
        return int(value)

    return ValueType(" or ".join(choices), convert, {"metavar": f"{{{','.join(choices)}}}"})


def boolean() -> ValueType:
    """Return the type of true or false."""

    def convert(value: Any) -> bool:
        if value not in (True, False, "true", "false"):
            raise ValueError
        return value in (True, "true")

    return ValueType("true or false", convert, {"metavar": "{true,false}"})


def number(interval: Range) -> ValueType:
    """Return the type of a number in an interval: an int if the interval is one of integers, otherwise a float."""

    def convert(value: Any) -> float:
        if isinstance(value, bool) or (interval.integer and isinstance(value, float)):
            raise ValueError
        converted = int(value) if interval.integer else float(value)  # YAML reads 1e-4 as text
        if converted not in interval:
            raise ValueError
        return converted

    return ValueType(str(interval), convert, {"metavar": "N" if interval.integer else "X"}, interval.ends)


def per_channel(interval: Range) -> ValueType:
    """Return the type of one number for all channels, or of one for each of red, green and blue."""
    element = number(interval)

    def convert(value: Any) -> tuple[float, ...]:
        values = value if isinstance(value, (list, tuple)) else (value,)
        if len(values) not in (1, 3):
            raise ValueError
        return tuple(map(element.convert, values))

    description = f"one number or three, each {element.description}"
    return ValueType(description, convert, {"nargs": "+", "metavar": "X"}, interval.ends)


def two_numbers(interval: Range) -> ValueType:
    """Return the type of a pair of numbers in an interval."""
    element = number(interval)

    def convert(value: Any) -> tuple[float, float]:
        if not isinstance(value, (list, tuple)):
            raise ValueError
        first, second = map(element.convert, value)
        return first, second

    description = f"two numbers, each {element.description}"
    return ValueType(description, convert, {"nargs": 2, "metavar": "X"}, interval.ends)


def split() -> ValueType:
    """Return the type of the choice of validation images."""
    fraction = number(SPLIT_FRACTION)

    def convert(value: Any) -> str | float:
        return value if value == EVERY_FIFTH else fraction.convert(value)

    description = f"{EVERY_FIFTH} or a fraction {SPLIT_FRACTION.ends}, such as 0.2"
    return ValueType(description, convert, {"metavar": f"{EVERY_FIFTH}|X"}, SPLIT_FRACTION.ends)


def named_values() -> ValueType:
    """Return the type of a mapping from names to numbers or texts; as flags, one NAME=X each."""

    def convert(value: Any) -> dict[str, int | float | str]:
        items = value.items() if isinstance(value, Mapping) else (item.split("=", 1) for item in value)
        return {str(name): _number_or_text(item) for name, item in items}

    description = "names with a number or text each, as in width=0.5"
    return ValueType(description, convert, {"action": "append", "metavar": "NAME=X"})


def _number_or_text(value: Any) -> int | float | str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    if not isinstance(value, str) or not value:
        raise ValueError
    for number_type in (int, float):
        with suppress(ValueError):
            return number_type(value)
    return value
