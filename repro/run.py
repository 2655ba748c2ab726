"""Train a model on any backend and leave a run folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from repro.cli import command_name, run_command
from repro.errors import ReproError
from repro.training import recipe as recipes
from repro.training import session


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog=command_name("run"),
        description="Train a model. Without further flags than --backend and --model: on embedded handwritten digits.",
        allow_abbrev=False,
    )
    parser.add_argument("--config", metavar="FILE", help="a YAML recipe, such as those in configs/; flags win over it")
    parser.add_argument("--out", metavar="DIR", help="the run folder (default: runs/MODEL-BACKEND-TIME)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    recipes.add_flags(parser)
    flags = vars(parser.parse_args(argv))
    config, out, resume = (flags.pop(name) for name in ("config", "out", "resume"))
    flags = recipes.parse_values(flags)
    if resume and (config or not out):
        raise ReproError("--resume goes on with the recipe in the run folder: give --out, and no --config")
    if resume:
        recipe = session.resumed_recipe(Path(out), flags)
    else:
        recipe = recipes.build_recipe(recipes.read_recipe_file(config) if config else {}, flags)
    session.run_in_this_process(recipe, out, resume=resume)
    return 0


if __name__ == "__main__":
    run_command(main)
