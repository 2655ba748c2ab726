"""The ablations of He et al., arXiv:1603.05027, tables 1 and 2: their published errors, and those of runs here."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from repro.errors import ReproError
from repro.files import read_yaml
from repro.interface.processes import SINGLE_PROCESS, process_group
from repro.training.recipe import Recipe
from repro.training.recipe_sources import build_recipe
from repro.training.shipped_recipes import configs_folder

LARGEST_FILE = 1 << 16  # bytes
FAILED = "fail"  # as the paper prints a run that did not converge
FREE_VALUES = ("data", "device", "workers", "threads")  # recipe values that may differ without changing an error


@dataclass(frozen=True)
class Row:
    """One unit of a published table."""

    variant: str  # name in the catalogue
    unit: str  # the paper's name of it
    published_error: str  # in per cent on CIFAR-10, or "fail"


def read_tables() -> dict[str, list[Row]]:
    """Return the rows of each published table under the table's title."""
    path = configs_folder() / "reproduction/resnet_cifar_ablations.yaml"
    tables = read_yaml(path, "list of ablations", "install repro again", LARGEST_FILE)
    return {
        title: [Row(variant, unit, error) for variant, (unit, error) in rows.items()] for title, rows in tables.items()
    }


def measure_errors(values: Mapping[str, Any], flags: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Train every variant of the tables, unless its finished run is in `folder`, and return the errors in per cent.

    values, flags: those of the recipe. The run of each variant is FOLDER/VARIANT, and interrupted runs are resumed. The
    error is that of the best epoch, or "fail" if the loss became NaN or infinite. Raises ReproError for a run folder
    with another recipe, and in a process that a launcher started.
    """
    variants = dict.fromkeys(row.variant for rows in read_tables().values() for row in rows)
    errors = {}
    for variant in variants:
        recipe = build_recipe(values, {**flags, "model": variant})
        if process_group(recipe.backend) != SINGLE_PROCESS:
            raise ReproError("ablations are trained in one process; start this command without a launcher")
        errors[variant] = _measure_error(recipe, folder / variant)
    return errors


def _measure_error(recipe: Recipe, path: Path) -> str:
    """Return the error of the run in the run folder `path`, which is trained or resumed if it is not finished."""
    from repro.training.loop import Diverged
    from repro.training.run_folder import DIVERGED_BATCH, LAST, read_recipe, read_run
    from repro.training.session import new_folder, train

    started = (path / LAST).is_file()
    if started:
        stored = read_recipe(path)
        _check_same_recipe(recipe, stored, path)
        recipe = replace(recipe, threads=recipe.threads or stored.threads)
        if (path / DIVERGED_BATCH).is_file():
            return FAILED
    if not (path / "summary.json").is_file():
        try:
            train(recipe, path if started else new_folder(str(path), recipe), resume=started)
        except Diverged as error:
            print(f"{path.name}: {error}", file=sys.stderr)
            return FAILED
    return f"{100 * (1 - read_run(path).progress.best['val_top1']):.2f}"


def _check_same_recipe(requested: Recipe, stored: Recipe, path: Path) -> None:
    """Raise ReproError if the run folder `path` has a recipe that would lead to another error."""
    from repro.training.resolve import recipe_differences

    for name, (requested_value, stored_value) in recipe_differences(requested, stored).items():
        if name not in FREE_VALUES:
            raise ReproError(
                f"{path} contains a run with {name} {stored_value}, not {requested_value}; give another --out"
            )


def table_lines(title: str, rows: Sequence[Row], errors: Mapping[str, str]) -> list[str]:
    """Return the lines of a table: each unit, its error here and its published error."""
    header = [title, f"{'':32}  here  paper"]
    return header + [f"{row.unit:32} {errors[row.variant]:>5}  {row.published_error:>5}" for row in rows]
