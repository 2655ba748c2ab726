"""The training loop: epochs of training and validation, the same for every backend."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from repro.data import Batch, Loader
from repro.errors import ReproError
from repro.interface import Trainer
from repro.interface.contract import StepResult
from repro.interface.dropout_source import SeededDropout
from repro.interface.processes import SINGLE_PROCESS, ProcessGroup
from repro.training import console
from repro.training.heartbeats import Position
from repro.training.meters import Meter, cross_entropy
from repro.training.recipe import Recipe
from repro.training.resolve import build_mixing, build_transform, recipe_at_epoch
from repro.training.run_folder import DIVERGED_BATCH, LAST, PartialEpoch, TrainingProgress
from repro.training.run_writer import RunFolder
from repro.training.schedules import learning_rate


class CheckpointSchedule:
    """The decision after which steps of an epoch a checkpoint is saved: every `steps`, and after `minutes` without one.

    None turns either condition off.
    """

    def __init__(self, steps: int | None, minutes: float | None) -> None:
        self.steps, self.minutes = steps, minutes
        self.saved()

    def saved(self) -> None:
        """Restart the clock."""
        self.start = time.monotonic()

    def is_due(self, step: int, processes: ProcessGroup) -> bool:
        """Return whether to save after this step, the same on every rank. Collective: every rank must call it."""
        due = self.steps is not None and step % self.steps == 0
        if self.minutes is not None:
            elapsed = time.monotonic() - self.start >= 60 * self.minutes and processes.is_main
            due = bool(processes.all_reduce_sum(np.array([float(elapsed)]))[0]) or due  # the clock of the main process
        if due:
            self.saved()
        return due


@dataclass(frozen=True)
class Run:
    """The objects that a run consists of."""

    recipe: Recipe  # complete
    loader: Loader
    trainer: Trainer  # with the weights and the optimizer state that `progress` describes
    make_trainer: Callable[[Recipe], Trainer]  # makes a trainer for the recipe of an epoch, see recipe_at_epoch
    drops: SeededDropout  # the source of dropout of all models that make_trainer creates
    folder: RunFolder
    progress: TrainingProgress  # grows by a row with each epoch
    schedule: CheckpointSchedule
    processes: ProcessGroup = SINGLE_PROCESS
    position: Position = field(default_factory=Position)  # moves on with each batch, for the other ranks to see


def fit(run: Run) -> None:
    """Train from the step after `run.progress` to the recipe's last epoch, and save after each epoch.

    With an EMA of the weights, the EMA is validated and saved as the best weights. A step depends only on the recipe,
    its number, the trainer's arrays and the world size, so that a resumed run ends bit-identical to an uninterrupted
    one. Raises Diverged if a loss is not finite; the run folder then keeps the last checkpoint.
    """
    recipe, progress, trainer = run.recipe, run.progress, run.trainer
    previous = recipe_at_epoch(recipe, progress.trainer_epoch)
    ema_trainer = None if recipe.ema_decay is None else run.make_trainer(recipe)
    for epoch in range(progress.epoch + 1, recipe.epochs + 1):
        if recipe.patience and progress.history and progress.epoch - progress.best["epoch"] >= recipe.patience:
            print(f"no better validation top-1 in {recipe.patience} epochs: the run ends after {progress.epoch} epochs")
            break
        current = recipe_at_epoch(recipe, epoch)
        trainer = _trainer_of_epoch(run, trainer, previous, current)
        previous = current
        row = run_epoch(run, trainer, ema_trainer, current, epoch)
        run.schedule.saved()
        run.folder.save(recipe, progress, trainer)
        print(console.epoch_line(row, recipe.epochs), flush=True)


def run_epoch(run: Run, trainer: Trainer, ema_trainer: Trainer | None, current: Recipe, epoch: int) -> dict[str, float]:
    """Train and validate one epoch or the rest of it; append its row of metrics to the progress, and return the row.

    Args:
        run: The run.
        trainer: The trainer, with the weights that the progress describes.
        ema_trainer: Another trainer, which validates the EMA of the weights; None to validate the weights themselves.
        current: The recipe as it is in this epoch.
        epoch: The epoch, counted from 1.

    Raises Diverged if a loss is not finite.
    """
    recipe, loader, progress = run.recipe, run.loader, run.progress
    title = f"epoch {epoch}/{recipe.epochs}"
    steps = loader.steps
    rates = [
        learning_rate(
            recipe.schedule, recipe.lr, (epoch - 1) * steps + step, steps, recipe.epochs, recipe.warmup, recipe.lr_end
        )
        for step in range(steps)
    ]
    partial = progress.partial
    start = time.perf_counter() - partial.seconds
    run.drops.begin_epoch(epoch, partial.dropout_calls)
    batches = loader.train(epoch - 1, build_transform(current), build_mixing(current), start=partial.step)

    def save(step: int, meter: Meter) -> None:
        meters, seconds = meter.gathered(run.processes), time.perf_counter() - start
        with run.position.pausing():
            run.folder.wait()  # Ctrl-C prints the progress, which must not be ahead of the file
            progress.partial = PartialEpoch(step, meters, run.drops.steps, seconds)
            run.folder.write_checkpoint(recipe, progress, trainer)

    try:
        train = train_epoch(
            trainer,
            run.position.through(console.bar(title, steps - partial.step, batches), epoch, current, start=partial.step),
            rates,
            epoch,
            run.processes,
            partial=partial,
            is_due=lambda step: run.schedule.is_due(step, run.processes),
            save=save,
        )
        training_end = time.perf_counter()
        if ema_trainer:
            ema_trainer.load_weights(trainer.ema_weights())
        val_bar = console.bar(f"{title} validation", loader.val_steps, loader.val(build_transform(recipe)))
        val_batches = run.position.through(val_bar, epoch, current, is_validation=True)
        val = validate(ema_trainer or trainer, val_batches, recipe, epoch, run.processes)
    except Diverged as error:
        names = loader.names(epoch - 1, error.step or steps)
        run.folder.write_diverged_batch(names)
        saved = (f"epoch {epoch - 1}" if epoch > 1 else "the weights it began with") + progress.steps_text
        raise Diverged(
            f"{error}, on {', '.join(names[:3])}{', ...' * (len(names) > 3)} (all {len(names)} "
            f"in {run.folder.path / DIVERGED_BATCH}; {run.folder.path / LAST} holds {saved}); "
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
    run.folder.wait()  # see save
    progress.history.append(row)
    progress.images += train.images
    progress.seconds += training_end - start
    progress.partial = PartialEpoch()
    return row


def train_epoch(
    trainer: Trainer,
    batches: Iterable[Batch],
    rates: Sequence[float],
    epoch: int,
    processes: ProcessGroup,
    *,
    partial: PartialEpoch,
    is_due: Callable[[int], bool],
    save: Callable[[int, Meter], object],
) -> Meter:
    """Make one training step per batch, and return the mean loss and the accuracies over all ranks.

    The result of a step is read after the next one has been started, so that a GPU is never idle. Loss and logits are
    those before the update. With mixed labels, the label of the larger weight counts for accuracy.
    Raises Diverged if a loss is not finite.

    Args:
        trainer: The trainer.
        batches: This rank's share of the global batches that remain.
        rates: The learning rate of each step of the epoch.
        epoch: The epoch, counted from 1, for errors.
        processes: The processes that train together.
        partial: The steps of the epoch that are finished.
        is_due: Called with the number of finished steps, and returns whether to save.
        save: Called with the number of finished steps and the meter of this rank.
    """
    meter = Meter.restored(partial.meters, processes)
    started: deque[tuple[int, np.ndarray, StepResult]] = deque()

    def finish_step() -> None:
        step, targets, result = started.popleft()
        loss, logits = result()
        if not math.isfinite(loss):
            raise Diverged(f"the loss became {loss} at step {step} of epoch {epoch}", step)
        meter.add(loss, logits, targets if targets.ndim == 1 else targets.argmax(1))

    remaining = zip(batches, rates[partial.step :], strict=True)
    for step, ((images, targets), lr) in enumerate(remaining, partial.step + 1):
        started.append((step, targets, trainer.start_step(images, targets, lr)))
        if len(started) > 1:
            finish_step()
        if is_due(step):
            finish_step()
            save(step, meter)
    while started:
        finish_step()
    return meter.all_reduced(processes)


class Diverged(ReproError):
    """The loss is not finite. `step` counts from 1 in the epoch; 0 stands for validation."""

    def __init__(self, text: str, step: int = 0):
        super().__init__(text)
        self.step = step


def _trainer_of_epoch(run: Run, trainer: Trainer, previous: Recipe, current: Recipe) -> Trainer:
    """Return the trainer of the previous epoch, or where the recipe needs another one, a new trainer in its state.

    Where the set of trained weights changes, optimizer and EMA start anew: Adam's moments of new weights would have
    another age than those of the others.
    """
    if (current.options, current.train_only) == (previous.options, previous.train_only):
        return trainer
    successor = run.make_trainer(current)
    successor.load_weights(trainer.weights())
    if current.train_only == previous.train_only:
        successor.load_state(trainer.state())
    return successor


def validate(
    trainer: Trainer, batches: Iterable[Batch], recipe: Recipe, epoch: int, processes: ProcessGroup = SINGLE_PROCESS
) -> Meter:
    """Return the mean loss and the accuracies of the batches of all ranks; `batches` are those of this rank.

    Raises Diverged if the mean loss is not finite.
    """
    meter = Meter()
    for images, labels in batches:
        logits = predict_padded(trainer, images, recipe.batch_size)
        meter.add(cross_entropy(logits, labels), logits, labels)
    meter = meter.all_reduced(processes)
    if not math.isfinite(meter.loss):
        raise Diverged(f"the validation loss became {meter.loss} after the last step of epoch {epoch}")
    return meter


def predict_padded(trainer: Trainer, images: np.ndarray, size: int) -> np.ndarray:
    """Return the logits (N, classes) of images (N, C, H, W), filled up with copies of the last one to `size` images.

    All batches have the same shape then, which backends that compile need to compile once only.
    """
    if len(images) == size:
        return trainer.predict(images)
    return trainer.predict(images[np.minimum(np.arange(size), len(images) - 1)])[: len(images)]
