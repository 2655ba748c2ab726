"""The run folder: the files that a run writes, and from which it resumes.

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
import os
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
from repro.files import replacing, write_text
from repro.interface import Trainer
from repro.plots import curves
from repro.specs import Spec
from repro.training import loggers
from repro.training.recipe import Recipe
from repro.training.recipe_sources import build_recipe, read_recipe_file, to_yaml
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


class RunFolder:
    """A run folder that is written to. `provenance` becomes the metadata of the weight files."""

    def __init__(self, path: Path, provenance: Mapping[str, str]):
        self.path = path
        self.provenance = provenance
        self.log_writer: loggers.LogWriter | None = None

    def create(self, recipe: Recipe, progress: TrainingProgress, trainer: Trainer) -> None:
        """Make the folder, and save the initial state, from which the run can be resumed.

        Raises ReproError, and leaves nothing behind, if the folder cannot be written or is not empty.
        """
        existed = self.path.exists()
        last = (self.path / LAST).parent
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if any(self.path.iterdir()):
                raise FileExistsError
            last.mkdir()  # of two runs that start at the same time, only one succeeds
        except FileExistsError as error:
            raise ReproError(f"{self.path} already exists; give another --out") from error
        except OSError as error:
            if not existed:
                with suppress(OSError):  # fails if another run has written into it meanwhile
                    self.path.rmdir()
            raise ReproError(f"cannot make the run folder {self.path}: {error.strerror}; give another --out") from error
        try:
            self.save(recipe, progress, trainer, validated=trainer)
        except BaseException:  # Ctrl-C too
            shutil.rmtree(self.path, ignore_errors=True)
            if existed:
                self.path.mkdir()
            raise

    def remove_partial_files(self) -> None:
        """Remove the half-written temporary files of a run that was killed while it wrote."""
        for file in (CONFIG, CLASSES, METRICS_FILE, CURVES, BEST, LAST):
            for partial in (self.path / file).parent.glob(f".{Path(file).name}.????????"):
                partial.unlink()

    def remove_beginning(self) -> None:
        """Remove the files of a run that was killed before its first checkpoint; nothing of any other folder."""
        last = (self.path / LAST).parent
        self.remove_partial_files()
        if last.is_dir() and not any(last.iterdir()):
            for file in (CONFIG, CLASSES):
                (self.path / file).unlink(missing_ok=True)
            last.rmdir()

    def write_diverged_batch(self, names: Sequence[str]) -> None:
        """Write the names of the images of the batch at which the run diverged."""
        write_text(self.path / DIVERGED_BATCH, "".join(f"{name}\n" for name in names))

    def save(self, recipe: Recipe, progress: TrainingProgress, trainer: Trainer, *, validated: Trainer) -> None:
        """Save the state after an epoch. `validated` is the trainer whose weights were validated.

        The checkpoint is written last: a run that is killed earlier repeats the epoch when it is resumed.
        """
        write_text(self.path / CONFIG, to_yaml(recipe))
        classes = dict(enumerate(json.loads(self.provenance["classes"])))
        write_text(self.path / CLASSES, json.dumps(classes, indent=2) + "\n")
        if progress.history:
            title = f"{recipe.model} on {Path(recipe.data).name}, {recipe.backend}"
            curves.draw_run(progress.history, title, self.path / CURVES)
            write_text(self.path / METRICS_FILE, "".join(json.dumps(row) + "\n" for row in progress.history))
            if progress.best is progress.history[-1]:
                best = {"epoch": str(progress.epoch), "val_top1": str(progress.best["val_top1"])}
                safetensors_file.save(self.path / BEST, validated.weights(), {**self.provenance, **best})
        if recipe.logs and progress.history:
            if self.log_writer is None:
                self.log_writer = loggers.log_writer_class(recipe.logs)(logdir=str(self.path / "logs"))
            loggers.log_metrics(self.log_writer, progress.history[-1])
        self.write_checkpoint(recipe, progress, trainer)

    def write_checkpoint(self, recipe: Recipe, progress: TrainingProgress, trainer: Trainer) -> None:
        """Replace the checkpoint, and keep as many of the last ones under names of their own as the recipe says."""
        arrays = {f"weights/{name}": array for name, array in trainer.weights().items()}
        arrays |= {f"optimizer/{name}": array for name, array in trainer.state().items()}
        last = self.path / LAST
        safetensors_file.save(last, arrays, {**self.provenance, "progress": json.dumps(asdict(progress))})
        if recipe.keep > 1:
            copy = last.with_name(f"epoch-{progress.epoch:04d}-step-{progress.partial.step:06d}.safetensors")
            copy.unlink(missing_ok=True)  # of a run that was resumed from an earlier checkpoint
            try:
                os.link(last, copy)
            except OSError:  # a file system without hard links
                with replacing(copy) as temporary:
                    shutil.copyfile(last, temporary)
            kept = sorted(last.parent.glob(KEPT), key=lambda path: path.stat().st_mtime_ns)
            for path in kept[: -recipe.keep]:
                path.unlink()

    def summarise(self, recipe: Recipe, progress: TrainingProgress, dataset: Dataset) -> dict[str, Any]:
        """Write summary.json, and return its values. Its `seconds` are those of all epochs, including validation."""
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
    """The run folder in processes other than the main one: it writes nothing, since the main process writes for all."""

    def create(self, recipe: Recipe, progress: TrainingProgress, trainer: Trainer) -> None:
        """Write nothing."""

    def remove_partial_files(self) -> None:
        """Write nothing."""

    def write_diverged_batch(self, names: Sequence[str]) -> None:
        """Write nothing."""

    def save(self, recipe: Recipe, progress: TrainingProgress, trainer: Trainer, *, validated: Trainer) -> None:
        """Write nothing."""

    def write_checkpoint(self, recipe: Recipe, progress: TrainingProgress, trainer: Trainer) -> None:
        """Write nothing."""


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
        if name in ("steps", "good_steps"):  # of optimizers and EMAs that need it, and of the loss scale
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
        if not isinstance(progress.digest, str) or not all(isinstance(value, (int, float)) for value in numbers):
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
