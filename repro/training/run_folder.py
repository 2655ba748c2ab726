"""The run folder: what a run leaves behind, and goes on from.

config.yaml                  every value of the recipe
class_indices.json           {"0": "daisy", ...}: what the outputs of the network are called
metrics.jsonl                a line an epoch
curves.png
best.safetensors             the canonical weights of the first epoch with the highest validation top-1; with an
                             ema_decay, the average that was validated
last/checkpoint.safetensors  all that the next epoch depends on, in one file, so that it is replaced in one stroke
logs/                        for TensorBoard or VisualDL, where the recipe says so
diverged.txt                 the images of the batch whose loss was not finite, a line each, where the run ended so
summary.json                 once the last epoch is done
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from repro.arrays import Arrays
from repro.data import Dataset
from repro.errors import ReproError
from repro.files import write_text
from repro.interface import Trainer
from repro.plots import curves
from repro.specs import Spec
from repro.training import loggers
from repro.training import recipe as recipes
from repro.training.recipe import Recipe, to_yaml
from repro.weights import safetensors_file
from repro.weights.strict import check_weights

CONFIG, CLASSES = "config.yaml", "class_indices.json"
METRICS_FILE, CURVES = "metrics.jsonl", "curves.png"
DIVERGED_BATCH = "diverged.txt"
BEST, LAST = "best.safetensors", "last/checkpoint.safetensors"
METRICS = ("epoch", "train_loss", "train_top1", "train_top5", "val_loss", "val_top1", "val_top5", "lr", "seconds")


@dataclass
class TrainingProgress:
    """The progress of a run: its digest of the data, metrics and timing."""

    digest: str  # of the data
    history: list[dict[str, float]] = field(default_factory=list)  # the rows of metrics.jsonl
    images: int = 0  # trained on, of all epochs
    seconds: float = 0.0  # spent on that, without validation

    @property
    def epoch(self) -> int:
        """The last finished epoch; 0: none."""
        return len(self.history)

    @property
    def best(self) -> dict[str, float]:
        """The row of the first epoch with the highest validation top-1."""
        return max(self.history, key=lambda row: row["val_top1"])


class RunFolder:
    """Writes the files. `provenance` (text) goes into the metadata of the weight files."""

    def __init__(self, path: Path, provenance: Mapping[str, str]):
        self.path = path
        self.provenance = provenance
        self.log: Any = None  # for a viewer

    def create(self, recipe: Recipe, progress: TrainingProgress, trainer: Trainer) -> None:
        """A new or empty folder becomes one that can be resumed, at first from its fresh weights. Raises ReproError,
        and leaves nothing behind, where it cannot be written, or is not empty any more."""
        existed = self.path.exists()
        last = (self.path / LAST).parent
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if any(self.path.iterdir()):
                raise FileExistsError
            last.mkdir()  # which of two runs that begin at once can do, has the folder
        except FileExistsError as error:
            raise ReproError(f"{self.path} already exists; give another --out") from error
        except OSError as error:
            if not existed:
                with suppress(OSError):  # unless it is another's by now
                    self.path.rmdir()
            raise ReproError(f"cannot make the run folder {self.path}: {error.strerror}; give another --out") from error
        try:
            self.save(recipe, progress, trainer, trainer)
        except BaseException:  # Ctrl-C too
            shutil.rmtree(self.path, ignore_errors=True)
            if existed:
                self.path.mkdir()
            raise

    def tidy(self) -> None:
        """Removes what a run that was killed as it wrote has left half-written."""
        for file in (CONFIG, CLASSES, METRICS_FILE, CURVES, BEST, LAST):
            for left in (self.path / file).parent.glob(f".{Path(file).name}.????????"):
                left.unlink()

    def note_batch(self, names: Sequence[str]) -> None:
        """The images of the batch at which the run ends."""
        write_text(self.path / DIVERGED_BATCH, "".join(f"{name}\n" for name in names))

    def save(self, recipe: Recipe, progress: TrainingProgress, trainer: Trainer, judge: Trainer) -> None:
        """The state after an epoch. The checkpoint comes last: a run that dies before it repeats the epoch. judge: what
        holds the weights that were validated."""
        write_text(self.path / CONFIG, to_yaml(recipe))
        classes = dict(enumerate(json.loads(self.provenance["classes"])))
        write_text(self.path / CLASSES, json.dumps(classes, indent=2) + "\n")
        if progress.history:
            title = f"{recipe.model} on {Path(recipe.data).name}, {recipe.backend}"
            curves.draw_run(progress.history, title, self.path / CURVES)
            write_text(self.path / METRICS_FILE, "".join(json.dumps(row) + "\n" for row in progress.history))
            if progress.best is progress.history[-1]:
                best = {"epoch": str(progress.epoch), "val_top1": str(progress.best["val_top1"])}
                safetensors_file.save(self.path / BEST, judge.weights(), {**self.provenance, **best})
        arrays = {f"weights/{name}": array for name, array in trainer.weights().items()}
        arrays |= {f"optimizer/{name}": array for name, array in trainer.state().items()}
        if recipe.logs and progress.history:
            self.log = self.log or loggers.log_writer_class(recipe.logs)(logdir=str(self.path / "logs"))
            loggers.log_metrics(self.log, progress.history[-1])
        safetensors_file.save(self.path / LAST, arrays, {**self.provenance, "progress": json.dumps(asdict(progress))})

    def summarise(self, recipe: Recipe, progress: TrainingProgress, dataset: Dataset) -> dict[str, Any]:
        """Writes and returns summary.json. seconds: of all epochs, with validation."""
        summary = {
            "model": recipe.model,
            "backend": recipe.backend,
            "framework_version": self.provenance["framework_version"],
            "dataset": dataset.name,
            "train_images": len(dataset.train),
            "val_images": len(dataset.val),
            "epochs": progress.epoch,
            "best_val_top1": progress.best["val_top1"],
            "images_per_second": round(progress.images / progress.seconds, 1),
            "seconds": round(sum(row["seconds"] for row in progress.history), 1),
            "seed": recipe.seed,
        }
        write_text(self.path / "summary.json", json.dumps(summary, indent=2) + "\n")
        return summary


class SilentRunFolder(RunFolder):
    """The run folder of a process other than the main one, which writes for all: it writes nothing."""

    def create(self, recipe: Recipe, progress: TrainingProgress, trainer: Trainer) -> None:
        """Write nothing."""

    def tidy(self) -> None:
        """Write nothing."""

    def note_batch(self, names: Sequence[str]) -> None:
        """Write nothing."""

    def save(self, recipe: Recipe, progress: TrainingProgress, trainer: Trainer, judge: Trainer) -> None:
        """Write nothing."""


def load(path: Path, spec: Spec, dataset: Dataset | None = None) -> tuple[TrainingProgress, Arrays, Arrays]:
    """TrainingProgress, weights and optimizer arrays of a run folder's last checkpoint.

    Raises ReproError for a file that is not one, or is one of another network or of other images than the data set's.
    """
    arrays, metadata = safetensors_file.load(path)
    progress = progress_in(metadata, path)
    if dataset and progress.digest != dataset.digest:
        run = path.parent.parent
        raise ReproError(f"{dataset.name} does not hold the images that {run} was trained on; give these as --data")
    weights = {name.removeprefix("weights/"): array for name, array in arrays.items() if name.startswith("weights/")}
    check_weights(weights, spec)
    prefix = "optimizer/"
    state = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    for name, array in state.items():
        if name == "steps":  # how many an optimizer made that counts them
            if array.shape or array.dtype != np.int64 or array < 0:
                raise ReproError(f"{path}: the optimizer's steps are no number of steps; start the run again")
            continue
        weight = spec.weights.get(name.partition("/")[2])
        if weight is None or weight.shape != array.shape:
            raise ReproError(f"{path}: the optimizer's {name} {array.shape} belongs to no weight of {spec.name}")
    return progress, weights, state


def progress_in(metadata: Mapping[str, str], path: Path) -> TrainingProgress:
    """The progress in the metadata of `path`, a run folder's last checkpoint. Raises ReproError where there is none."""
    try:
        progress = TrainingProgress(**json.loads(metadata["progress"]))
        numbers = [progress.images, progress.seconds, *(row[key] for row in progress.history for key in METRICS)]
        if not isinstance(progress.digest, str) or not all(isinstance(value, (int, float)) for value in numbers):
            raise ValueError
        return progress
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ReproError(f"{path} was not written by a training run; give the folder of one") from error


@dataclass(frozen=True)
class FinishedRun:
    """A run folder with at least one finished epoch, as it was read."""

    path: Path
    recipe: Recipe
    progress: TrainingProgress  # of an epoch at least

    @property
    def best_weights(self) -> Path:
        """The path of the canonical weights of the best epoch."""
        return self.path / BEST


def read_recipe(path: Path) -> Recipe:
    """The recipe of a run folder. Raises ReproError for a folder that is none."""
    if not (path / CONFIG).is_file():
        raise ReproError(f"{path} is not a run folder (it has no {CONFIG}); give one that repro.run has written")
    return recipes.build_recipe(recipes.read_recipe_file(path / CONFIG), {})


def read_run(path: Path) -> FinishedRun:
    """The recipe, and what came of it so far. No weights are read.

    Raises ReproError for a folder that is none of a run, or of one that has not finished an epoch.
    """
    recipe = read_recipe(path)
    progress = progress_in(safetensors_file.load(path / LAST)[1], path / LAST)
    if not progress.history:
        raise ReproError(f"{path} has no finished epoch yet; resume it with: python -m repro.run --resume --out {path}")
    return FinishedRun(path, recipe, progress)
