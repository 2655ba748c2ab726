"""The run folder: its files, the progress in its checkpoint, and reading it. repro.training.run_writer writes it.

config.yaml                  every value of the recipe
class_indices.json           {"0": "daisy", ...}: the class names by class index
metrics.jsonl                one line per epoch
curves.png                   loss and accuracy over the epochs
best.safetensors             the canonical weights of the first epoch with the highest validation top-1; with an
                             ema_decay, the EMA of the weights, which was validated
last/checkpoint.safetensors  everything that the next step depends on, in one file, so that it is replaced atomically
last/epoch-*-step-*          the last checkpoints, if the recipe keeps several: finished epochs, and steps after them
logs/                        logs for TensorBoard or VisualDL, if the recipe has `logs`
diverged.txt                 the images of the batch whose loss was not finite, one per line, if the run diverged
summary.json                 the result of the run, written after the last epoch
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from repro.arrays import Arrays
from repro.data import Dataset
from repro.errors import ReproError
from repro.specs import Spec
from repro.training.recipe import Recipe
from repro.training.recipe_sources import build_recipe, read_recipe_file
from repro.weights import safetensors_file
from repro.weights.strict import check_weights

CONFIG, CLASSES = "config.yaml", "class_indices.json"
METRICS_FILE, CURVES = "metrics.jsonl", "curves.png"
DIVERGED_BATCH = "diverged.txt"
BEST, LAST = "best.safetensors", "last/checkpoint.safetensors"
KEPT = "epoch-*-step-*.safetensors"
METRICS = ("epoch", "train_loss", "train_top1", "train_top5", "val_loss", "val_top1", "val_top5", "lr", "seconds")


@dataclass(frozen=True)
class PartialEpoch:
    """The progress in an epoch that is not finished."""

    step: int = 0  # number of finished steps
    meters: list[list[float]] = field(default_factory=list)  # see Meter.gathered
    dropout_calls: dict[str, int] = field(default_factory=dict)  # see SeededDropout.begin_epoch
    seconds: float = 0.0  # time spent on these steps


@dataclass
class TrainingProgress:
    """The progress of a run: metrics and timing so far, and the digest of its data set."""

    digest: str  # Dataset.digest
    history: list[dict[str, float]] = field(default_factory=list)  # the rows of metrics.jsonl
    images: int = 0  # number of images trained on, in all epochs
    seconds: float = 0.0  # time spent on training, without validation
    partial: PartialEpoch = PartialEpoch()  # the epoch after the last finished one
    resizer: str = ""  # Transform.resizer

    @property
    def epoch(self) -> int:
        """The last finished epoch, counted from 1; 0 if no epoch is finished."""
        return len(self.history)

    @property
    def trainer_epoch(self) -> int:
        """The epoch in which the trainer's state arose, counted from 1."""
        return max(self.epoch + (self.partial.step > 0), 1)

    @property
    def steps_text(self) -> str:
        """The steps after the last finished epoch in words, such as " and 30 steps", or ""."""
        return f" and {self.partial.step} steps" if self.partial.step else ""

    @property
    def best(self) -> dict[str, float]:
        """The row of the first epoch with the highest validation top-1."""
        return max(self.history, key=lambda row: row["val_top1"])


def load(path: Path, spec: Spec, dataset: Dataset | None = None) -> tuple[TrainingProgress, Arrays, Arrays]:
    """Return the progress, the weights and the optimizer state in a run folder's last checkpoint.

    Raises ReproError if `path` is not a checkpoint, or belongs to another network than `spec` or to other images than
    those of the data set.
    """
    arrays, metadata = safetensors_file.load(path)
    progress = parse_progress(metadata, path)
    if dataset and progress.digest != dataset.digest:
        run = path.parent.parent
        raise ReproError(
            f"{dataset.name} does not hold the images that {run} was trained on; give the run's data set as --data"
        )
    weights = {name.removeprefix("weights/"): array for name, array in arrays.items() if name.startswith("weights/")}
    check_weights(weights, spec)
    prefix = "optimizer/"
    state = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    for name, array in state.items():
        if name in ("steps", "good_steps"):  # counts of the optimizer or the EMA, and of the loss scale
            if array.shape or array.dtype != np.int64 or array < 0:
                raise ReproError(f"{path}: the optimizer's step count is not an integer from 0; start a new run")
            continue
        if name == "loss_scale":
            if array.shape or array.dtype != np.float32 or not 1 <= array < np.inf:
                raise ReproError(f"{path}: the loss scale is not a number from 1; start a new run")
            continue
        weight = spec.weights.get(name.partition("/")[2])
        if weight is None or weight.shape != array.shape:
            raise ReproError(
                f"{path}: the optimizer's {name} {array.shape} does not fit a weight of {spec.name}; start a new run"
            )
    return progress, weights, state


def parse_progress(metadata: Mapping[str, str], path: Path) -> TrainingProgress:
    """Return the progress in the metadata of `path`, a run folder's last checkpoint.

    Raises ReproError if the metadata has no valid progress.
    """
    try:
        values = json.loads(metadata["progress"])
        partial = PartialEpoch(**values.pop("partial", {}))  # absent in runs before checkpoints within epochs
        progress = TrainingProgress(**values, partial=partial)
        numbers = [progress.images, progress.seconds, *(row[key] for row in progress.history for key in METRICS)]
        numbers += [partial.step, partial.seconds, *partial.dropout_calls.values()]
        numbers += [number for images, loss, top1, top5 in partial.meters for number in (images, loss, top1, top5)]
        if not all(isinstance(value, str) for value in (progress.digest, progress.resizer)):
            raise ValueError
        if not all(isinstance(value, (int, float)) for value in numbers):
            raise ValueError
        return progress
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ReproError(f"{path} was not written by a training run; give a run folder") from error


@dataclass(frozen=True)
class FinishedRun:
    """The recipe and the progress of a run with at least one finished epoch."""

    path: Path
    recipe: Recipe
    progress: TrainingProgress

    @property
    def best_weights(self) -> Path:
        """The path of the canonical weights of the best epoch."""
        return self.path / BEST


def read_recipe(path: Path) -> Recipe:
    """Return the recipe of a run folder. Raises ReproError if the folder is not a run folder."""
    if not (path / CONFIG).is_file():
        raise ReproError(f"{path} is not a run folder (it has no {CONFIG}); give one that repro.run has written")
    return build_recipe(read_recipe_file(path / CONFIG), {})


def read_run(path: Path) -> FinishedRun:
    """Return the recipe and the progress of a run folder, without reading its weights.

    Raises ReproError if the folder is not a run folder, or has no finished epoch.
    """
    recipe = read_recipe(path)
    progress = parse_progress(safetensors_file.load(path / LAST)[1], path / LAST)
    if not progress.history:
        raise ReproError(f"{path} has no finished epoch yet; resume it with: python -m repro.run --resume --out {path}")
    return FinishedRun(path, recipe, progress)
