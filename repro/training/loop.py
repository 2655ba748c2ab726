"""The loop: epochs of training and validation, the same for every backend."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from repro.data import Batch, Loader
from repro.errors import ReproError
from repro.interface import Trainer
from repro.interface.dropout_source import SeededDropout
from repro.interface.processes import SINGLE_PROCESS, ProcessGroup
from repro.training import console
from repro.training.meters import Meter, cross_entropy
from repro.training.recipe import Recipe
from repro.training.resolve import build_mixing, build_transform, recipe_at_epoch
from repro.training.run_folder import DIVERGED_BATCH, LAST, RunFolder, TrainingProgress
from repro.training.schedules import learning_rate


@dataclass(frozen=True)
class Run:
    """Everything that one run trains with."""

    recipe: Recipe  # complete
    loader: Loader
    trainer: Trainer  # holds the weights and the optimizer state of `progress`
    make_trainer: Callable[[Recipe], Trainer]  # a trainer for the recipe as it is in some epoch
    drops: SeededDropout  # the source of dropout in all models that make_trainer makes
    folder: RunFolder
    progress: TrainingProgress  # grows by a row with each epoch
    processes: ProcessGroup = SINGLE_PROCESS


def fit(run: Run) -> None:
    """Train from where the progress is to the recipe's last epoch, and save after each epoch.

    With an EMA of the weights, the EMA is validated and kept as the best. An epoch is a function of the recipe, its
    number, the trainer's arrays and the number of processes alone, so that a resumed run ends like one that never
    stopped. Raises Diverged when a loss is no longer finite; the folder then keeps the epoch before.
    """
    recipe, progress, trainer = run.recipe, run.progress, run.trainer
    before = recipe_at_epoch(recipe, min(progress.epoch + 1, recipe.epochs))
    averaged = None if recipe.ema_decay is None else run.make_trainer(recipe)
    for epoch in range(progress.epoch + 1, recipe.epochs + 1):
        now = recipe_at_epoch(recipe, epoch)
        if now.options != before.options:
            trainer = _handed_on(trainer, run.make_trainer(now))
        before = now
        row = run_epoch(run, trainer, averaged, now, epoch)
        run.folder.save(recipe, progress, trainer, averaged or trainer)
        print(console.epoch_line(row, recipe.epochs), flush=True)


def run_epoch(run: Run, trainer: Trainer, averaged: Trainer | None, now: Recipe, epoch: int) -> dict[str, float]:
    """Train and validate one epoch, and append its row to the progress, which is returned.

    averaged: a trainer that validates the EMA, if there is one; now: the recipe in this epoch.
    """
    recipe, loader, progress = run.recipe, run.loader, run.progress
    title = f"epoch {epoch}/{recipe.epochs}"
    steps, val_steps = loader.steps, math.ceil(len(loader.dataset.val) / recipe.batch_size)
    rates = [
        learning_rate(
            recipe.schedule, recipe.lr, (epoch - 1) * steps + step, steps, recipe.epochs, recipe.warmup, recipe.lr_end
        )
        for step in range(steps)
    ]
    start = time.perf_counter()
    run.drops.begin_epoch(epoch)
    batches = loader.train(epoch - 1, build_transform(now), build_mixing(now))
    try:
        train = train_epoch(trainer, console.bar(title, steps, batches), rates, epoch, run.processes)
        trained = time.perf_counter()
        if averaged:
            averaged.load_weights(trainer.ema_weights())
        val_batches = console.bar(f"{title} validation", val_steps, loader.val(build_transform(recipe)))
        val = validate(averaged or trainer, val_batches, recipe, epoch, run.processes)
    except Diverged as error:
        names = loader.names(epoch - 1, error.step or steps)
        run.folder.note_batch(names)
        kept = f"epoch {epoch - 1}" if epoch > 1 else "the weights it began with"
        raise Diverged(
            f"{error}, on {', '.join(names[:3])}{', ...' * (len(names) > 3)} (all {len(names)} "
            f"in {run.folder.path / DIVERGED_BATCH}; {run.folder.path / LAST} holds {kept}); "
            "start again with a smaller --lr"
        ) from None
    row = {
        "epoch": epoch,
        "train_loss": train.loss,
        "train_top1": train.top1,
        "train_top5": train.top5,
        "val_loss": val.loss,
        "val_top1": val.top1,
        "val_top5": val.top5,
        "lr": rates[0],
        "seconds": round(time.perf_counter() - start, 3),
    }
    progress.history.append(row)
    progress.images += train.images
    progress.seconds += trained - start
    return row


def train_epoch(
    trainer: Trainer,
    batches: Iterable[Batch],
    rates: Sequence[float],
    epoch: int,
    processes: ProcessGroup = SINGLE_PROCESS,
) -> Meter:
    """A step for each batch, on this process's share. The meter sees the batches as they were before their steps, and
    of mixed labels the one with the larger part. Raises Diverged."""
    meter = Meter()
    for step, (batch, lr) in enumerate(zip(batches, rates, strict=True), 1):
        images, targets = (array[processes.local_slice(len(array))] for array in batch)
        loss, logits = trainer.step(images, targets, lr)
        if not math.isfinite(loss):
            raise Diverged(f"the loss became {loss} at step {step} of epoch {epoch}", step)
        meter.add(loss, logits, targets if targets.ndim == 1 else targets.argmax(1))
    return meter.all_reduced(processes)


class Diverged(ReproError):
    """A loss that is no longer finite. step: of the epoch, counted from 1; 0: in validation."""

    def __init__(self, text: str, step: int = 0):
        super().__init__(text)
        self.step = step


def _handed_on(trainer: Trainer, other: Trainer) -> Trainer:
    """The other trainer, which goes on from where this one is."""
    other.load_weights(trainer.weights())
    other.load_state(trainer.state())
    return other


def validate(
    trainer: Trainer, batches: Iterable[Batch], recipe: Recipe, epoch: int, processes: ProcessGroup = SINGLE_PROCESS
) -> Meter:
    """A prediction for each batch, which the processes make in turns. Raises Diverged."""
    meter = Meter()
    for images, labels in islice(batches, processes.rank, None, processes.world_size):
        logits = predict_filled(trainer, images, recipe.batch_size)
        meter.add(cross_entropy(logits, labels), logits, labels)
    meter = meter.all_reduced(processes)
    if not math.isfinite(meter.loss):
        raise Diverged(f"the validation loss became {meter.loss} after the last step of epoch {epoch}")
    return meter


def predict_filled(trainer: Trainer, images: np.ndarray, size: int) -> np.ndarray:
    """Logits of a batch that is filled up with zeros to `size` images, so that backends that compile see one shape."""
    missing = size - len(images)
    return trainer.predict(np.pad(images, [(0, missing), (0, 0), (0, 0), (0, 0)]))[: len(images)]
