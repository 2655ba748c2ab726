"""The sources of a recipe's values: YAML files and command-line flags, parsed and checked alike."""

from __future__ import annotations

import argparse
import dataclasses
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from repro.errors import ReproError, unknown
from repro.files import read_yaml
from repro.training.recipe import FIELDS, GROUPS, Recipe, flag_of
from repro.training.value_types import ValueType

LARGEST_FILE = 1 << 16
"""Bytes; a recipe has a few hundred."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each field, in groups. A flag that the user does not give is absent from the parsed namespace."""
    groups = {group: parser.add_argument_group(group) for group in GROUPS}
    for name, item in FIELDS.items():
        groups[item.metadata["group"]].add_argument(
            flag_of(name),
            dest=name,
            default=argparse.SUPPRESS,
            help=_help(item).replace("%", "%%"),  # argparse formats help texts with %
            **item.metadata["type"].argument,
        )


def _help(item: dataclasses.Field[Any]) -> str:
    """Return the help of a field, with the range of its values and its default."""
    parts = [item.metadata["help"], item.metadata["type"].limits]
    default = item.metadata["default_text"] or item.default
    if isinstance(default, tuple):
        default = " ".join(map(str, default))
    elif isinstance(default, bool):
        default = str(default).lower()
    if item.default is item.default_factory is dataclasses.MISSING:
        note = " (required)"
    else:
        note = f" (default: {default})" if item.default is not dataclasses.MISSING else ""
    return ", ".join(filter(None, parts)) + note


def parse_values(values: Mapping[Any, Any], source: str = "") -> dict[str, Any]:
    """Return the values of a recipe with their final types. "none" stands for None where that is the default.

    source: names the file in errors; without it, errors name the flags.
    Raises ReproError for an unknown key, a wrong type and a value out of range.
    """
    parsed = {}
    for key, value in values.items():
        if key not in FIELDS:
            raise unknown(f"key in {source}", reprlib.repr(key) if not isinstance(key, str) else key, FIELDS)
        value_type: ValueType = FIELDS[key].metadata["type"]
        try:
            is_none = value in (None, "none") and FIELDS[key].default is None
            parsed[key] = None if is_none else value_type.convert(value)
        except (ValueError, TypeError, OverflowError) as error:
            name = f"{source}: {key}" if source else flag_of(key)
            raise ReproError(f"{name} must be {value_type.description}, not {reprlib.repr(value)}") from error
    return parsed


def read_recipe_file(path: str | Path) -> dict[str, Any]:
    """Return the values in a YAML recipe, with their final types. Raises ReproError for a file that is not a recipe."""
    values = read_yaml(path, "recipe", "see configs/ for examples", LARGEST_FILE)
    return parse_values(values, str(path))


def build_recipe(values: Mapping[str, Any], flags: Mapping[str, Any]) -> Recipe:
    """Return the recipe of parsed values, with priority for flags; options and first_stage are merged item by item.

    Published weights name the model where it is left out. Without weights, the fresh_head of `values` has no meaning
    and is left out, too. Raises ReproError where a required value is missing.
    """
    merged = {**values, **flags}
    if "weights" in flags and flags["weights"] is None and "fresh_head" not in flags:
        merged.pop("fresh_head", None)
    if "model" not in merged and merged.get("weights"):
        from repro.published.source import published_variant

        if variant := published_variant(merged["weights"]):
            merged["model"] = variant
    for name in {"options", "first_stage"} & values.keys() & flags.keys():
        merged[name] = {**values[name], **flags[name]}
    for name, item in FIELDS.items():
        if name not in merged and item.default is item.default_factory is dataclasses.MISSING:
            raise ReproError(f"{flag_of(name)} is required: {item.metadata['help']}")
    return Recipe(**merged)


def to_yaml(recipe: Recipe) -> str:
    """Return the recipe as the text of a file that read_recipe_file reads."""
    import yaml

    values = {
        name: list(value) if isinstance(value, tuple) else value for name, value in dataclasses.asdict(recipe).items()
    }
    return yaml.safe_dump(values, sort_keys=False)
