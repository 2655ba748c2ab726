"""The loop: epochs of training and validation, the same for every backend."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

import numpy as np

from repro.data import Batch, Loader
from repro.drops import Drops
from repro.errors import ReproError
from repro.interface import Trainer
from repro.processes import ALONE, Processes
from repro.training import console
from repro.training.checkpoints import BATCH, LAST, Progress, RunFolder
from repro.training.meters import Meter, cross_entropy
from repro.training.parts import at_epoch, mixing, transform
from repro.training.recipe import Recipe
from repro.training.schedules import learning_rate


def fit(
    trainer: Trainer, make: Callable[[Recipe], Trainer], loader: Loader, drops: Drops, recipe: Recipe,
    folder: RunFolder, progress: Progress, processes: Processes = ALONE,
) -> None:  # fmt: skip
    """Trains from where `progress` is to the recipe's last epoch, and saves after each. Where the recipe has averages
    of the weights, these are validated and kept as the best.

    make: another trainer, for the recipe as it is in some epoch; drops: what their models leave out by; recipe:
    complete; processes: those that make each step together. An epoch is a function of the recipe, its number, the
    trainer's arrays and the number of processes alone: a run that was resumed ends like one that never stopped. Raises
    Diverged when a loss is no longer finite; the folder then keeps the epoch before.
    """
    steps, val_steps = loader.steps, math.ceil(len(loader.dataset.val) / recipe.batch_size)
    before = at_epoch(recipe, min(progress.epoch + 1, recipe.epochs))
    averaged = None if recipe.ema_decay is None else make(recipe)
    for epoch in range(progress.epoch + 1, recipe.epochs + 1):
        title = f"epoch {epoch}/{recipe.epochs}"
        rates = [
            learning_rate(
                recipe.schedule, recipe.lr, (epoch - 1) * steps + step, steps, recipe.epochs, recipe.warmup,
                recipe.lr_end,
            )
            for step in range(steps)
        ]  # fmt: skip
        now = at_epoch(recipe, epoch)
        if now.options != before.options:
            trainer = _handed_on(trainer, make(now))
        before = now
        start = time.perf_counter()
        drops.begin(epoch)
        batches = loader.train(epoch - 1, transform(now), mixing(now))
        try:
            train = train_epoch(trainer, console.bar(title, steps, batches), rates, epoch, processes)
            trained = time.perf_counter()
            judge = averaged or trainer
            if averaged:
                averaged.load_weights(trainer.averages())
            batches = loader.val(transform(recipe))
            val = validate(judge, console.bar(f"{title} validation", val_steps, batches), recipe, epoch, processes)
        except Diverged as error:
            names = loader.names(epoch - 1, error.step or steps)
            folder.note_batch(names)
            kept = f"epoch {epoch - 1}" if epoch > 1 else "the weights it began with"
            raise Diverged(
                f"{error}, on {', '.join(names[:3])}{', ...' * (len(names) > 3)} (all {len(names)} in "
                f"{folder.path / BATCH}; {folder.path / LAST} holds {kept}); start again with a smaller --lr"
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
        folder.save(recipe, progress, trainer, judge)
        print(console.epoch_line(row, recipe.epochs), flush=True)


def train_epoch(
    trainer: Trainer, batches: Iterable[Batch], rates: Sequence[float], epoch: int, processes: Processes = ALONE
) -> Meter:
    """A step for each batch, on this process's share. The meter sees the batches as they were before their steps, and
    of mixed labels the one with the larger part. Raises Diverged."""
    meter = Meter()
    for step, (batch, lr) in enumerate(zip(batches, rates, strict=True), 1):
        images, targets = (array[processes.share(len(array))] for array in batch)
        loss, logits = trainer.step(images, targets, lr)
        if not math.isfinite(loss):
            raise Diverged(f"the loss became {loss} at step {step} of epoch {epoch}", step)
        meter.add(loss, logits, targets if targets.ndim == 1 else targets.argmax(1))
    return processes.total(meter)


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
    trainer: Trainer, batches: Iterable[Batch], recipe: Recipe, epoch: int, processes: Processes = ALONE
) -> Meter:
    """A prediction for each batch, which the processes make in turns. Raises Diverged."""
    meter = Meter()
    for images, labels in islice(batches, processes.rank, None, processes.count):
        logits = predict_filled(trainer, images, recipe.batch_size)
        meter.add(cross_entropy(logits, labels), logits, labels)
    meter = processes.total(meter)
    if not math.isfinite(meter.loss):
        raise Diverged(f"the validation loss became {meter.loss} after the last step of epoch {epoch}")
    return meter


def predict_filled(trainer: Trainer, images: np.ndarray, size: int) -> np.ndarray:
    """Logits of a batch that is filled up with zeros to `size` images, so that backends that compile see one shape."""
    missing = size - len(images)
    return trainer.predict(np.pad(images, [(0, missing), (0, 0), (0, 0), (0, 0)]))[: len(images)]
