"""Training steps and validation, the dropout of training steps, and the progress bar."""

from __future__ import annotations

import math
from typing import cast

import numpy as np
import pytest

from repro.interface import Trainer
from repro.interface.contract import StepResult
from repro.interface.dropout_source import SeededDropout
from repro.interface.processes import SINGLE_PROCESS
from repro.training import console, loop
from repro.training.loop import Diverged
from repro.training.meters import Meter, cross_entropy
from repro.training.recipe import Recipe
from repro.training.run_folder import PartialEpoch

RECIPE = Recipe(backend="torch", model="asymmnet_small", batch_size=4)


class Predictor:
    """A trainer whose logits are the first three pixels of an image, and which records the shapes of its batches."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def predict(self, images: np.ndarray) -> np.ndarray:
        self.shapes.append(images.shape)
        return images[:, 0, 0, :3]


def test_validation_pads_the_last_batch_and_does_not_count_padding() -> None:
    rng = np.random.default_rng(0)
    images, trainer = rng.normal(size=(6, 3, 8, 8)).astype(np.float32), Predictor()
    labels = images[:, 0, 0, :3].argmax(1)
    meter = loop.validate(cast(Trainer, trainer), [(images[:4], labels[:4]), (images[4:], labels[4:])], RECIPE, 1)
    assert trainer.shapes == [(4, 3, 8, 8)] * 2
    assert (meter.images, meter.top1) == (6, 1.0)
    assert meter.loss == pytest.approx(cross_entropy(images[:, 0, 0, :3], labels))


class Device:
    """A trainer that records when a step is started, and when its result is asked for; the third loss is NaN."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def start_step(self, images: np.ndarray, targets: np.ndarray, lr: float) -> StepResult:
        step = int(lr)
        self.events.append(f"start {step}")

        def result() -> tuple[float, np.ndarray]:
            self.events.append(f"result {step}")
            return (math.nan if step == 3 else float(step)), np.eye(2)

        return result


def train_on(device: Device, steps: int, due: int) -> Meter:
    """Train for some steps, with a checkpoint after one of them."""
    return loop.train_epoch(
        cast(Trainer, device),
        [(np.zeros((2, 3, 8, 8), np.float32), np.arange(2))] * steps,
        [float(step) for step in range(1, steps + 1)],
        4,
        SINGLE_PROCESS,
        partial=PartialEpoch(),
        is_due=lambda step: step == due,
        save=lambda step, meter: device.events.append(f"save {step} with {meter.images} images"),
    )


def test_the_next_step_is_started_before_the_result_of_the_last_one_is_asked_for() -> None:
    device = Device()
    assert train_on(device, 2, due=0).loss == 1.5
    assert device.events == ["start 1", "start 2", "result 1", "result 2"]


def test_a_checkpoint_holds_the_steps_that_were_started() -> None:
    device = Device()
    train_on(device, 2, due=1)
    assert device.events == ["start 1", "result 1", "save 1 with 2 images", "start 2", "result 2"]


def test_a_loss_of_nan_names_its_own_step_and_is_not_saved() -> None:
    device = Device()
    with pytest.raises(Diverged, match="the loss became nan at step 3 of epoch 4") as raised:
        train_on(device, 6, due=3)
    assert raised.value.step == 3
    assert device.events[-2:] == ["result 2", "result 3"]
    with pytest.raises(Diverged, match="at step 3 of epoch 4"):
        train_on(device, 6, due=6)
    assert device.events[-2:] == ["start 4", "result 3"]


def test_validation_raises_diverged_at_nan_logits() -> None:
    images = np.full((4, 3, 8, 8), np.nan, np.float32)
    with pytest.raises(Diverged, match="validation loss became nan after the last step of epoch 3"):
        loop.validate(cast(Trainer, Predictor()), [(images, np.zeros(4, np.int64))], RECIPE, 3)


def test_dropout_depends_on_seed_epoch_layer_and_step() -> None:
    def draws(seed: int, epoch: int) -> list[bytes]:
        source = SeededDropout(seed)
        source("before", (1,))
        source.begin_epoch(epoch)
        return [source(layer, (2, 3)).tobytes() for layer in ("a", "b", "a")]

    assert len({draw for seed in range(5) for epoch in range(5) for draw in draws(seed, epoch)}) == 3 * 25
    assert draws(3, 4) == draws(3, 4)
    numbers = SeededDropout(0)("a", (1000,))
    assert numbers.dtype == np.float32 and 0 <= numbers.min() < 0.01 and 0.99 < numbers.max() < 1


def test_a_short_progress_bar_writes_nothing_if_stderr_is_not_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert list(console.bar("epoch 1/2", 3, range(3))) == [0, 1, 2]
    assert capsys.readouterr() == ("", "")
