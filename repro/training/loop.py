"""The loop: epochs of training and validation, the same for every backend."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence

import numpy as np

from repro.data import Batch, Loader, Transform
from repro.drops import Drops
from repro.errors import ReproError
from repro.interface import Trainer
from repro.training import console
from repro.training.checkpoints import Progress, RunFolder
from repro.training.meters import Meter, cross_entropy
from repro.training.recipe import Recipe
from repro.training.schedules import learning_rate


def fit(trainer: Trainer, loader: Loader, drops: Drops, recipe: Recipe, folder: RunFolder, progress: Progress) -> None:
    """Trains from where `progress` is to the recipe's last epoch, and saves after each.

    drops: what the trainer's model leaves out by; recipe: with an image_size. An epoch is a function of the recipe, its
    number and the trainer's arrays alone: a run that was resumed ends like one that never stopped. Raises ReproError
    when a loss is no longer finite; the folder then keeps the epoch before.
    """
    assert recipe.image_size is not None
    transform = Transform(
        image_size=recipe.image_size, rotation=recipe.rotation, flip=recipe.flip, mean=recipe.mean, std=recipe.std
    )
    steps, val_steps = loader.steps, math.ceil(len(loader.dataset.val) / recipe.batch_size)
    for epoch in range(progress.epoch + 1, recipe.epochs + 1):
        title = f"epoch {epoch}/{recipe.epochs}"
        rates = [
            learning_rate(recipe.schedule, recipe.lr, (epoch - 1) * steps + step, steps, recipe.epochs, recipe.warmup)
            for step in range(steps)
        ]
        start = time.perf_counter()
        drops.begin(epoch)
        train = train_epoch(trainer, console.bar(title, steps, loader.train(epoch - 1, transform)), rates, epoch)
        trained = time.perf_counter()
        val = validate(trainer, console.bar(f"{title} validation", val_steps, loader.val(transform)), recipe, epoch)
        row = {
            "epoch": epoch,
            "train_loss": train.loss,
            "train_top1": train.top1,
            "val_loss": val.loss,
            "val_top1": val.top1,
            "val_top5": val.top5,
            "lr": rates[0],
            "seconds": round(time.perf_counter() - start, 3),
        }
        progress.history.append(row)
        progress.images += train.images
        progress.seconds += trained - start
        folder.save(recipe, progress, trainer)
        print(console.epoch_line(row, recipe.epochs), flush=True)


def train_epoch(trainer: Trainer, batches: Iterable[Batch], rates: Sequence[float], epoch: int) -> Meter:
    """A step for each batch. The meter sees the batches as they were before their steps."""
    meter = Meter()
    for step, ((images, labels), lr) in enumerate(zip(batches, rates, strict=True), 1):
        loss, logits = trainer.step(images, labels, lr)
        if not math.isfinite(loss):
            raise _diverged(f"the loss became {loss} at step {step} of epoch {epoch}", epoch)
        meter.add(loss, logits, labels)
    return meter


def validate(trainer: Trainer, batches: Iterable[Batch], recipe: Recipe, epoch: int) -> Meter:
    """A prediction for each batch. A smaller one is filled up with zeros, so that backends that compile see one shape,
    and its logits are cut."""
    meter = Meter()
    for images, labels in batches:
        missing = recipe.batch_size - len(images)
        logits = trainer.predict(np.pad(images, [(0, missing), (0, 0), (0, 0), (0, 0)]))[: len(images)]
        loss = cross_entropy(logits, labels)
        if not math.isfinite(loss):
            raise _diverged(f"the validation loss became {loss} after the last step of epoch {epoch}", epoch)
        meter.add(loss, logits, labels)
    return meter


def _diverged(what: str, epoch: int) -> ReproError:
    kept = f"last/ holds epoch {epoch - 1}" if epoch > 1 else "last/ holds the weights it began with"
    return ReproError(f"{what} ({kept}); start again with a smaller --lr")
