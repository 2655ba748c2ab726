"""Every value that decides a run. The fields of Recipe are the keys of the YAML files and the flags of the command."""

from __future__ import annotations

import argparse
import dataclasses
import reprlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repro.errors import ReproError, unknown
from repro.files import read_yaml
from repro.training.schedules import SCHEDULES

LARGEST_FILE = 1 << 16  # bytes; a recipe has a few hundred


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


def triple(each: Kind) -> Kind:
    def convert(value: Any) -> tuple:
        if not isinstance(value, (list, tuple)) or len(value) != 3:
            raise ValueError
        return tuple(map(each.convert, value))

    return Kind(f"three numbers, each {each.expects}", convert, {"nargs": 3, "metavar": ("R", "G", "B")})


def split() -> Kind:
    fraction = number(0, 0.9, above=True)

    def convert(value: Any) -> str | float:
        return value if value == "every-fifth" else fraction.convert(value)

    return Kind("every-fifth or a fraction such as 0.2", convert, {"metavar": "every-fifth|X"})


def options() -> Kind:
    def convert(value: Any) -> dict[str, int | float | str]:
        pairs = value.items() if isinstance(value, Mapping) else (item.split("=", 1) for item in value)
        return {str(key): _number_or_text(item) for key, item in pairs}

    return Kind("names with a number or text each", convert, {"action": "append", "metavar": "NAME=X"})


def _number_or_text(value: Any) -> int | float | str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    if not isinstance(value, str) or not value:
        raise ValueError
    for number_type in (int, float):
        with suppress(ValueError):
            return number_type(value)
    return value


def setting(kind: Kind, help: str, default: Any = dataclasses.MISSING) -> Any:
    metadata = {"kind": kind, "help": help}
    if isinstance(default, dict):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A run's values. None stands for what `repro.run` works out from the model and the data."""

    backend: str = setting(text("NAME"), "torch, paddle, mindspore, or another one that is installed")
    model: str = setting(text("NAME"), "a variant that `python -m repro.models` lists")
    options: Mapping[str, int | float | str] = setting(
        options(), "an option of the model's family, such as width=0.5; may be repeated", {}
    )
    weights: str | None = setting(text("FILE"), "a checkpoint to start from instead of fresh weights", None)
    data: str = setting(
        text("DIR"), "digits (embedded), or a folder of class folders, or of train/ and val/ of them", "digits"
    )
    split: str | float = setting(
        split(),
        "what validates: every fifth image of each class, or a fraction X of it drawn with the seed",
        "every-fifth",
    )
    image_size: int | None = setting(
        whole(8, 2048), "side in pixels (default: 32 for digits, otherwise what the model was published at)", None
    )
    mean: tuple[float, float, float] = setting(
        triple(number(-10, 10)), "subtracted from pixels, which are from 0 to 1", (0.5, 0.5, 0.5)
    )
    std: tuple[float, float, float] = setting(
        triple(number(0, 10, above=True)), "what pixels are then divided by", (0.5, 0.5, 0.5)
    )
    rotation: float = setting(number(0, 180), "training images are turned by up to so many degrees", 0.0)
    flip: float = setting(number(0, 1), "probability of a training image to be mirrored left to right", 0.0)
    batch_size: int = setting(whole(2, 65536), "images per step", 64)  # 1 has no batch statistics
    epochs: int = setting(whole(1, 100_000), "passes over the training images", 12)
    lr: float = setting(number(0, 1000, above=True), "the first learning rate", 0.05)
    schedule: str = setting(
        one_of(*SCHEDULES), "how the learning rate falls: with each step, each epoch, each third of the run, or never",
        "cosine",
    )  # fmt: skip
    warmup: float = setting(number(0, 1000), "epochs in which the learning rate rises first", 0.0)
    momentum: float = setting(number(0, 0.9999), "of SGD", 0.9)
    weight_decay: float = setting(number(0, 1), "of SGD, on every trained weight", 1e-4)
    seed: int = setting(whole(0, 2**31 - 1), "decides fresh weights, order, augmentation and dropout", 0)
    workers: int = setting(whole(0, 256), "processes that read images (0: none)", 0)


FIELDS = {item.name: item for item in dataclasses.fields(Recipe)}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """A flag for each field. What the user leaves out is left out of the parsed namespace."""
    for name, item in FIELDS.items():
        help = item.metadata["help"]
        if item.default not in (None, dataclasses.MISSING):
            default = item.default if not isinstance(item.default, tuple) else " ".join(map(str, item.default))
            help += f" (default: {default})"
        # % is a format character of argparse's help
        parser.add_argument(
            _flag(name),
            dest=name,
            default=argparse.SUPPRESS,
            help=help.replace("%", "%%"),
            **item.metadata["kind"].argument,
        )


def _flag(name: str) -> str:
    return "--option" if name == "options" else f"--{name.replace('_', '-')}"


def convert(values: Mapping[Any, Any], source: str) -> dict[str, Any]:
    """The values of a recipe with their final types. `source` begins the errors: a file's name, or "" for flags.

    Raises ReproError for an unknown key, a wrong type and a value out of range.
    """
    converted = {}
    for key, value in values.items():
        if key not in FIELDS:
            raise unknown(f"key in {source}", reprlib.repr(key) if not isinstance(key, str) else key, FIELDS)
        item = FIELDS[key]
        try:
            converted[key] = None if value is None and item.default is None else item.metadata["kind"].convert(value)
        except (ValueError, TypeError, OverflowError) as error:
            name = f"{source}: {key}" if source else _flag(key)
            raise ReproError(f"{name} must be {item.metadata['kind'].expects}, not {reprlib.repr(value)}") from error
    return converted


def read(path: str | Path) -> dict[str, Any]:
    """The converted values of a YAML recipe. Raises ReproError for a file that is not one."""
    values = read_yaml(path, "recipe", "see configs/ for examples", LARGEST_FILE)
    return convert(values, str(path))


def make(values: Mapping[str, Any], flags: Mapping[str, Any]) -> Recipe:
    """The recipe of converted values, over which the flags win; options are merged one by one."""
    merged = {**values, **flags}
    if "options" in values and "options" in flags:
        merged["options"] = {**values["options"], **flags["options"]}
    for name, item in FIELDS.items():
        if name not in merged and item.default is item.default_factory is dataclasses.MISSING:
            raise ReproError(f"{_flag(name)} is missing: {item.metadata['help']}")
    return Recipe(**merged)


def to_yaml(recipe: Recipe) -> str:
    """The recipe as `read` reads it."""
    import yaml

    values = {
        name: list(value) if isinstance(value, tuple) else value for name, value in dataclasses.asdict(recipe).items()
    }
    return yaml.safe_dump(values, sort_keys=False)
