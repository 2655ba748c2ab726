"""The ablations of He et al., arXiv:1603.05027, tables 1 and 2: every unit under the same recipe, beside the paper's
errors on CIFAR-10."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from repro.cli import command_name, run_command
from repro.errors import ReproError
from repro.interface.processes import SINGLE_PROCESS, process_group
from repro.training import recipe as recipes

if TYPE_CHECKING:
    from repro.training.recipe import Recipe

PREFIX = "resnet110_cifar"
# the end of a variant's name, what the paper calls the unit, and its error in per cent
TABLES = {
    "Table 1, what is on the shortcut": [
        ("", "original", "6.61"),
        ("_scaled", "constant scaling, 0.5 and 0.5", "12.35"),
        ("_scaled_shortcut", "constant scaling, 0.5 and 1", "fail"),
        ("_exclusive_gating", "exclusive gating, bias -6", "8.70"),
        ("_shortcut_gating", "shortcut-only gating, bias -6", "6.91"),
        ("_conv1x1", "1x1 conv shortcut", "12.22"),
        ("_dropout", "dropout shortcut, 0.5", "fail"),
    ],
    "Table 2, where normalisation and ReLU are": [
        ("", "original", "6.61"),
        ("_bn_after", "BN after addition", "8.17"),
        ("_relu_before", "ReLU before addition", "7.84"),
        ("_relu_preact", "ReLU-only pre-activation", "6.71"),
        ("_full_preact", "full pre-activation", "6.37"),
    ],
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog=command_name("ablation"),
        description="Train the units of both tables of arXiv:1603.05027 under one recipe, and print the tables. What "
        "is in --out already is not trained again, and a run that stopped goes on. --option depth=20 is quicker.",
        allow_abbrev=False,
    )
    parser.add_argument("--config", metavar="FILE", help="a YAML recipe, such as configs/resnet_cifar10.yaml")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="where the run folders are")
    recipes.add_flags(parser)
    flags = vars(parser.parse_args(argv))
    config, out = flags.pop("config"), flags.pop("out")
    flags = recipes.convert(flags, "")
    if "model" in flags:
        raise ReproError("--model follows from the tables; leave it out, or train it by repro.run")
    values = recipes.read(config) if config else {}
    errors = {ending: _error(values, flags, ending, out) for rows in TABLES.values() for ending, _, _ in rows}
    for title, rows in TABLES.items():
        print(f"\n{title}\n{'':32}  here  paper")
        for ending, unit, published in rows:
            print(f"{unit:32} {errors[ending]:>5}  {published:>5}")
    return 0


def _error(values: dict, flags: dict, ending: str, out: Path) -> str:
    """In per cent, of the best epoch of a run, trained where it has not been; "fail" where it diverged, as the paper
    has it. Raises ReproError for a folder that holds a run of another recipe, or none."""
    from repro.training.loop import Diverged
    from repro.training.run_folder import BATCH, LAST, read_recipe, read_run
    from repro.training.session import new_folder, train

    folder = out / f"{PREFIX}{ending}"
    recipe = recipes.make(values, flags | {"model": folder.name})
    if process_group(recipe.backend) != SINGLE_PROCESS:
        raise ReproError("a sweep trains in one process; start it without a launcher")
    begun = (folder / LAST).is_file()
    if begun:
        _same(recipe, read_recipe(folder), folder)
        if (folder / BATCH).is_file():
            return "fail"
    if not (folder / "summary.json").is_file():
        try:
            train(recipe, folder if begun else new_folder(str(folder), recipe), resume=begun)
        except Diverged as error:
            print(f"{folder.name}: {error}", file=sys.stderr)
            return "fail"
    return f"{100 * (1 - read_run(folder).progress.best['val_top1']):.2f}"


def _same(recipe: Recipe, stored: Recipe, folder: Path) -> None:
    """Raises ReproError where a run in the folder was of another recipe: its error is none of this one's table."""
    from repro.training.resolve import differences

    for name, (asked, made) in differences(recipe, stored).items():
        if name not in ("data", "device", "workers"):
            raise ReproError(f"{folder} holds a run whose {name} is {made}, not {asked}; give another --out")


if __name__ == "__main__":
    run_command(main)
