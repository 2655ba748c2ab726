"""A run folder as others look at it, whether or not the run has come to its last epoch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from repro.errors import ReproError
from repro.training import recipe as recipes
from repro.training.checkpoints import BEST, CONFIG, LAST, Progress, progress_in
from repro.training.recipe import Recipe
from repro.weights import store


@dataclass(frozen=True)
class FinishedRun:
    path: Path
    recipe: Recipe
    progress: Progress  # of an epoch at least

    @property
    def best_weights(self) -> Path:
        return self.path / BEST


def read_recipe(path: Path) -> Recipe:
    """The recipe of a run folder. Raises ReproError for a folder that is none."""
    if not (path / CONFIG).is_file():
        raise ReproError(f"{path} is not a run folder (it has no {CONFIG}); give one that repro.run has written")
    return recipes.make(recipes.read(path / CONFIG), {})


def read_run(path: Path) -> FinishedRun:
    """The recipe, and what came of it so far. No weights are read.

    Raises ReproError for a folder that is none of a run, or of one that has not finished an epoch.
    """
    recipe = read_recipe(path)
    progress = progress_in(store.load(path / LAST)[1], path / LAST)
    if not progress.history:
        raise ReproError(f"{path} has no finished epoch yet; go on with it: python -m repro.run --resume --out {path}")
    return FinishedRun(path, recipe, progress)
