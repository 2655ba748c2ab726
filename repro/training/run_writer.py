"""Writing of the run folder, whose files repro.training.run_folder describes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from repro.data import Dataset
from repro.errors import ReproError
from repro.files import replacing, write_text
from repro.interface import Trainer
from repro.plots import curves
from repro.training import loggers
from repro.training.recipe import Recipe
from repro.training.recipe_sources import to_yaml
from repro.training.run_folder import (
    BEST,
    CLASSES,
    CONFIG,
    CURVES,
    DIVERGED_BATCH,
    KEPT,
    LAST,
    METRICS_FILE,
    TrainingProgress,
)
from repro.weights import safetensors_file


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
