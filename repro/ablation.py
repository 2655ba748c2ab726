"""Train the ablations of He et al., arXiv:1603.05027, and print the tables 1 and 2 with the paper's errors."""

from __future__ import annotations

import argparse
from pathlib import Path

from repro.cli import command_name, run_command
from repro.errors import ReproError
from repro.training.recipe_sources import add_flags, parse_values, read_recipe_file
from repro.training.shipped_recipes import find_recipe


def main(argv: list[str] | None = None) -> int:
    """Run the command with these arguments (default: those of the process) and return its exit code."""
    parser = argparse.ArgumentParser(
        prog=command_name("ablation"),
        description="Train all units of tables 1 and 2 of arXiv:1603.05027 with the same recipe, and print both tables "
        "with the errors measured here and those of the paper. Runs that are finished are not repeated, and "
        "interrupted ones are resumed. The networks have 110 layers; --option depth=20 makes training quicker.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config",
        metavar="RECIPE",
        help="YAML recipe: a file, or the name of a shipped one such as resnet_cifar10; flags have priority over it",
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="folder that contains, or will contain, the run folders"
    )
    add_flags(parser)
    flags = vars(parser.parse_args(argv))
    config, out = flags.pop("config"), flags.pop("out")
    flags = parse_values(flags)
    if "model" in flags:
        raise ReproError("--model is decided by the tables; leave it out, or train one model with repro.run")
    values = read_recipe_file(find_recipe(config)) if config else {}

    from repro.evaluation import ablation_tables

    errors = ablation_tables.measure_errors(values, flags, out)
    for title, rows in ablation_tables.read_tables().items():
        print()
        print("\n".join(ablation_tables.table_lines(title, rows, errors)))
    return 0


if __name__ == "__main__":
    run_command(main)
