"""What the values of a recipe may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Kind:
    """What a value may be: in words, as a function that converts or raises ValueError, and as argparse shows it."""

    expects: str
    convert: Callable[[Any], Any]
    argument: dict[str, Any]


def text(metavar: str) -> Kind:
    def convert(value: Any) -> str:
        if not isinstance(value, str) or not value:
            raise ValueError
        return value

    return Kind("text", convert, {"metavar": metavar})


def one_of(*names: str) -> Kind:
    def convert(value: Any) -> str:
        if value not in names:
            raise ValueError
        return value

    return Kind(f"one of {', '.join(names)}", convert, {"metavar": f"{{{','.join(names)}}}"})


def yes_or_no() -> Kind:
    def convert(value: Any) -> bool:
        if value not in (True, False, "true", "false"):
            raise ValueError
        return value in (True, "true")

    return Kind("true or false", convert, {"metavar": "{true,false}"})


def whole(low: int, high: int) -> Kind:
    def convert(value: Any) -> int:
        if isinstance(value, (bool, float)) or not low <= int(value) <= high:
            raise ValueError
        return int(value)

    return Kind(f"a whole number from {low} to {high}", convert, {"metavar": "N"})


def number(low: float, high: float, *, above: bool = False) -> Kind:
    """A number from `low` (`above`: greater than `low`) to `high`."""

    def convert(value: Any) -> float:
        if isinstance(value, bool) or not low <= float(value) <= high or (above and float(value) == low):
            raise ValueError
        return float(value)  # YAML reads 1e-4 as text

    return Kind(
        f"a number {'above' if above else 'from'} {low:g} {'and up ' * above}to {high:g}", convert, {"metavar": "X"}
    )


def per_channel(each: Kind) -> Kind:
    def convert(value: Any) -> tuple:
        values = value if isinstance(value, (list, tuple)) else (value,)
        if len(values) not in (1, 3):
            raise ValueError
        return tuple(map(each.convert, values))

    return Kind(f"one number or three, each {each.expects}", convert, {"nargs": "+", "metavar": "X"})


def split() -> Kind:
    fraction = number(0, 0.9, above=True)

    def convert(value: Any) -> str | float:
        return value if value == "every-fifth" else fraction.convert(value)

    return Kind("every-fifth or a fraction above 0 and up to 0.9, such as 0.2", convert, {"metavar": "every-fifth|X"})


def pairs() -> Kind:
    def convert(value: Any) -> dict[str, int | float | str]:
        items = value.items() if isinstance(value, Mapping) else (item.split("=", 1) for item in value)
        return {str(key): _number_or_text(item) for key, item in items}

    return Kind("names with a number or text each, as in width=0.5", convert, {"action": "append", "metavar": "NAME=X"})


def _number_or_text(value: Any) -> int | float | str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    if not isinstance(value, str) or not value:
        raise ValueError
    for number_type in (int, float):
        with suppress(ValueError):
            return number_type(value)
    return value
