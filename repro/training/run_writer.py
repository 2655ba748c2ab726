"""Writing of the run folder, whose files repro.training.run_folder describes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from repro.arrays import Arrays
from repro.data import Dataset
from repro.errors import ReproError
from repro.files import replacing, write_text
from repro.interface import Trainer
from repro.plots import curves
from repro.training import loggers
from repro.training.background import BackgroundWriter
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


@dataclass(frozen=True)
class Snapshot:
    """The state of a run at one moment, in copies, which the training does not change."""

    progress: TrainingProgress
    weights: Arrays
    state: Arrays  # the optimizer's, with the EMA

    @classmethod
    def of(cls, progress: TrainingProgress, trainer: Trainer) -> Snapshot:
        """Return copies of the progress and of the trainer's arrays."""
        history = [*progress.history]  # rows are added to it, but not changed
        return cls(replace(progress, history=history), trainer.weights(), trainer.state())

    @property
    def arrays(self) -> Arrays:
        """All arrays by their names in the file."""
        weights = {f"weights/{name}": array for name, array in self.weights.items()}
        return weights | {f"optimizer/{name}": array for name, array in self.state.items()}

    @property
    def validated_weights(self) -> Arrays:
        """The weights that validation uses: with the EMA, where there is one, in place of every trained one."""
        prefix = "ema/"
        ema = {name.removeprefix(prefix): array for name, array in self.state.items() if name.startswith(prefix)}
        return self.weights | ema


class RunFolder:
    """A run folder that is written to, in the background during `writing`, one checkpoint at a time.

    Copies of the arrays are taken at each call, so that the training may go on. They are not taken before those of the
    previous call are written, so that there is one set of them. An error of the background is raised by the next call.
    `provenance` becomes the metadata of the weight files.
    """

    def __init__(self, path: Path, provenance: Mapping[str, str]):
        self.path = path
        self.provenance = provenance
        self.log_writer: loggers.LogWriter | None = None
        self.background = BackgroundWriter()

    def writing(self) -> AbstractContextManager[None]:
        """Write in the background until the block ends, and then wait for the last file, however the block ends."""
        return self.background.running()

    def wait(self) -> None:
        """Wait until all is written. Raises ReproError where it cannot be."""
        self.background.wait()

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
            last.mkdir()  # if two runs start at the same time, only one succeeds
        except FileExistsError as error:
            raise ReproError(f"{self.path} already exists; give another --out") from error
        except OSError as error:
            if not existed:
                with suppress(OSError):  # fails if another run has written into it meanwhile
                    self.path.rmdir()
            raise ReproError(f"cannot make the run folder {self.path}: {error.strerror}; give another --out") from error
        try:
            self.save(recipe, progress, trainer)
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
        """Remove the files of a run that was killed before its first checkpoint; leave any other folder as it is."""
        last = (self.path / LAST).parent
        self.remove_partial_files()
        if last.is_dir() and not any(last.iterdir()):
            for file in (CONFIG, CLASSES):
                (self.path / file).unlink(missing_ok=True)
            last.rmdir()

    def write_diverged_batch(self, names: Sequence[str]) -> None:
        """Write the names of the images of the batch at which the run diverged, after the last checkpoint."""
        self.wait()
        write_text(self.path / DIVERGED_BATCH, "".join(f"{name}\n" for name in names))

    def save(self, recipe: Recipe, progress: TrainingProgress, trainer: Trainer) -> None:
        """Save the state after an epoch.

        The checkpoint is written last: a run that is killed earlier repeats the epoch when it is resumed.
        """
        self.wait()
        snapshot = Snapshot.of(progress, trainer)
        self.background.submit(lambda: self._write_epoch(recipe, snapshot))

    def write_checkpoint(self, recipe: Recipe, progress: TrainingProgress, trainer: Trainer) -> None:
        """Replace the checkpoint, and keep the recipe's number of latest ones under names of their own."""
        self.wait()
        snapshot = Snapshot.of(progress, trainer)
        self.background.submit(lambda: self._write_checkpoint(recipe, snapshot))

    def _write_epoch(self, recipe: Recipe, snapshot: Snapshot) -> None:
        """Write the files of an epoch, and last the checkpoint."""
        progress = snapshot.progress
        write_text(self.path / CONFIG, to_yaml(recipe))
        classes = dict(enumerate(json.loads(self.provenance["classes"])))
        write_text(self.path / CLASSES, json.dumps(classes, indent=2) + "\n")
        if progress.history:
            title = f"{recipe.model} on {Path(recipe.data).name}, {recipe.backend}"
            curves.draw_run(progress.history, title, self.path / CURVES)
            write_text(self.path / METRICS_FILE, "".join(json.dumps(row) + "\n" for row in progress.history))
            if progress.best is progress.history[-1]:
                best = {"epoch": str(progress.epoch), "val_top1": str(progress.best["val_top1"])}
                safetensors_file.save(self.path / BEST, snapshot.validated_weights, {**self.provenance, **best})
        if recipe.logs and progress.history:
            if self.log_writer is None:
                self.log_writer = loggers.log_writer_class(recipe.logs)(logdir=str(self.path / "logs"))
            loggers.log_metrics(self.log_writer, progress.history[-1])
        self._write_checkpoint(recipe, snapshot)

    def _write_checkpoint(self, recipe: Recipe, snapshot: Snapshot) -> None:
        progress, last = snapshot.progress, self.path / LAST
        metadata = {**self.provenance, "progress": json.dumps(asdict(progress))}
        safetensors_file.save(last, snapshot.arrays, metadata)
        if recipe.keep > 1:
            copy = last.with_name(f"epoch-{progress.epoch:04d}-step-{progress.partial.step:06d}.safetensors")
            copy.unlink(missing_ok=True)  # it exists if a run was resumed from an earlier checkpoint
            try:
                os.link(last, copy)
            except OSError:  # a file system without hard links
                with replacing(copy) as temporary:
                    shutil.copyfile(last, temporary)
            kept = sorted(last.parent.glob(KEPT), key=lambda path: path.stat().st_mtime_ns)
            for path in kept[: -recipe.keep]:
                path.unlink()

    def summarise(self, recipe: Recipe, progress: TrainingProgress, dataset: Dataset) -> dict[str, Any]:
        """Write summary.json, after all else, and return its values. Its `seconds` include those of validation."""
        self.wait()
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

    def save(self, recipe: Recipe, progress: TrainingProgress, trainer: Trainer) -> None:
        """Write nothing."""

    def write_checkpoint(self, recipe: Recipe, progress: TrainingProgress, trainer: Trainer) -> None:
        """Write nothing."""
