"""Train a model on any backend and write a run folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from repro.cli import command_name, run_command
from repro.errors import ReproError
from repro.training import session
from repro.training.recipe_sources import add_flags, build_recipe, parse_values, read_recipe_file
from repro.training.shipped_recipes import find_recipe


def main(argv: list[str] | None = None) -> int:
    """Run the command with these arguments (default: those of the process) and return its exit code."""
    parser = argparse.ArgumentParser(
        prog=command_name("run"),
        usage="%(prog)s --backend NAME --model NAME [--config RECIPE] [OPTIONS]\n       %(prog)s --resume --out RUN",
        description="Train a model and write a run folder: recipe, metrics, curves, best weights and the checkpoint of "
        "the last epoch. Without --data, it is trained on embedded handwritten digits.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config", metavar="RECIPE",
        help="YAML recipe: a file, or the name of a shipped one such as resnet_cifar10; flags have priority over it",
    )  # fmt: skip
    parser.add_argument("--out", metavar="RUN", help="new run folder (default: runs/MODEL-BACKEND-TIME)")
    parser.add_argument("--resume", action="store_true", help="resume the interrupted run in --out")
    add_flags(parser)
    flags = vars(parser.parse_args(argv))
    config, out, resume = (flags.pop(name) for name in ("config", "out", "resume"))
    flags = parse_values(flags)
    if resume and (config or not out):
        raise ReproError("--resume uses the recipe of the run folder: give --out RUN, and leave --config out")
    resume = resume or session.goes_on(out)
    if resume:
        recipe = session.resumed_recipe(Path(out), flags)
    else:
        recipe = build_recipe(read_recipe_file(find_recipe(config)) if config else {}, flags)
    session.run_in_this_process(recipe, out, resume=resume)
    return 0


if __name__ == "__main__":
    run_command(main)
