"""Programs of parity_tests/training/test_recipes.py."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from repro.data import Batch, Loader, Mixing, Transform
from repro.interface import TrainSettings
from repro.run import main
from repro.training import resolve
from repro.training.recipe import Recipe
from repro.training.recipe_sources import read_recipe_file

# smaller networks of the same structure, by the model of a recipe
SMALLER = {
    "efficientnet_v2_s": "efficientnet_v2_b0",
    "shufflenet_v2_x1_0": "shufflenet_v2_x0_5",
    "shufflenet_v2_x1_0_torchvision": "shufflenet_v2_x0_5_torchvision",
    "asymmnet_large": "asymmnet_small_x0_35",
}


def train(*argv: str) -> None:
    """Run the command repro.run."""
    main(list(argv))


def train_all_recipes(name: str, configs: str, data: str, out: str) -> None:
    """Train a small network by each recipe of the folder `configs`, for 1 to 3 epochs; run folders are OUT/RECIPE.

    All recipes share one process, since importing a framework takes longer than the steps, and steps are not compiled,
    since compilation does, too.
    """
    train_settings = resolve.train_settings

    def eager_settings(recipe: Recipe, world_size: int = 1) -> TrainSettings:
        return replace(train_settings(recipe, world_size), compiled=False)

    resolve.train_settings = eager_settings
    for path in sorted(Path(configs).glob("*.yaml")):
        values = read_recipe_file(path)
        flags = ["--model", SMALLER.get(values["model"], values["model"]), "--image-size", "40", "--batch-size", "6"]
        flags += ["--weights", "none"]  # those of three recipes are not in the repository
        flags += ["--option", "depth=8"] if "cifar" in path.stem else []
        progressive = ["--epochs", "3", "--stages", "3", "--first-stage", "image_size=32"]
        flags += progressive if "first_stage" in values else ["--epochs", str(1 + values.get("train_only_epochs", 0))]
        flags += ["--data", data, "--split", "0.2", "--lr", "1e-4", "--out", f"{out}/{path.stem}"]
        main(["--backend", name, "--config", str(path), *flags])


def train_until_killed(*argv: str) -> None:
    """Run the command repro.run, and kill this process before the second step of epoch 3."""
    train = Loader.train

    def train_until(
        self: Loader, epoch: int, transform: Transform, mixing: Mixing | None = None, *, start: int = 0
    ) -> Iterator[Batch]:
        for step, batch in enumerate(train(self, epoch, transform, mixing, start=start), start):
            if (epoch, step) == (2, 1):
                os.kill(os.getpid(), signal.SIGKILL)
            yield batch

    Loader.train = train_until  # type: ignore[method-assign]
    main(list(argv))
