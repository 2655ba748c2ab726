"""Programs of parity_tests/backends/test_loss_scale.py, and what test_processes.py does of it in several processes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from parity_tests.programs.common import random_images
from repro.arrays import Arrays
from repro.errors import ReproError
from repro.interface import Trainer, TrainSettings
from repro.interface.discovery import load_backend
from repro.interface.loss_scale import LossScale
from repro.interface.processes import SINGLE_PROCESS, ProcessGroup
from repro.specs import STATISTICS
from repro.specs.asymmnet import asymmnet
from repro.weights.init import initialise

SPEC = asymmnet("small", num_classes=4, dropout=0.0, width=0.35)
SPEC = replace(SPEC, stages=SPEC.stages[:2])
IMAGES = random_images((8, 3, 32, 32), 0).astype(np.float32)
LABELS = np.array([0, 1, 2, 3, 0, 1, 2, 3])
SETTINGS = TrainSettings(precision="float16", optimizer="adamw", ema_decay=0.9, clip_norm=1.0, compiled=False)


def make_trainer(name: str, settings: TrainSettings, scale: LossScale, weights: Arrays | None = None) -> Trainer:
    """A trainer in its initial state, but with this loss scale."""
    backend = load_backend(name)
    trainer = backend.create_trainer(backend.create_model(SPEC), settings)
    trainer.load_weights(initialise(SPEC, 0) if weights is None else weights)
    trainer.load_state(trainer.state() | scale.state())
    return trainer


def everything(trainer: Trainer) -> dict[str, bytes]:
    """The bytes of everything that a step may change, except running statistics and the loss scale."""
    weights = {key: array for key, array in trainer.weights().items() if SPEC.weights[key].kind not in STATISTICS}
    state = {key: array for key, array in trainer.state().items() if key not in ("loss_scale", "good_steps")}
    return {key: array.tobytes() for key, array in (weights | state).items()}


def scale_of(trainer: Trainer) -> list[float]:
    """The loss scale, and the good steps since it changed."""
    state = trainer.state()
    return [float(state["loss_scale"]), int(state["good_steps"])]


def overflow(name: str, compiled: bool) -> dict[str, Any]:
    """The effects of a step that overflows, of one that does not, and of an update by infinite gradients."""
    trainer = make_trainer(name, replace(SETTINGS, compiled=compiled), LossScale(2.0**60, 7))
    before = everything(trainer)
    loss, _ = trainer.step(IMAGES, LABELS, 0.1)
    results = {"loss": loss, "skipped": everything(trainer) == before, "halved": scale_of(trainer)}
    trainer.load_state(trainer.state() | LossScale(256.0, 1998).state())
    trainer.step(IMAGES, LABELS, 0.1)
    changed = everything(trainer)
    results |= {"changed": [key for key, value in changed.items() if value != before[key]], "kept": scale_of(trainer)}
    results["steps"] = int(trainer.state()["steps"])
    trainer.step(IMAGES, LABELS, 0.1)
    results["doubled"] = scale_of(trainer)
    trainer.load_state(trainer.state() | LossScale(2.0).state())
    gradients = {key: np.zeros(shape, np.float32) for key, shape in SETTINGS.trained_shapes(SPEC).items()}
    gradients["classifier.bias"][1] = np.inf
    before = everything(trainer)
    trainer.update(gradients, 0.1)
    results |= {"infinite": scale_of(trainer), "unchanged": everything(trainer) == before}
    try:
        trainer.update(gradients, 0.1)
    except ReproError as error:
        results["error"] = str(error)
    return results


def resume(name: str) -> bool:
    """Return whether a resumed run ends as one without a break, to the bit, while the scale halves and doubles."""
    ends = []
    for stop in (None, 1, 2, 3):
        trainer = make_trainer(name, SETTINGS, LossScale(2.0**60, 1999))
        for step in range(4):
            if step == stop:
                weights, state = trainer.weights(), trainer.state()
                trainer = make_trainer(name, SETTINGS, LossScale(), weights)
                trainer.load_state(state)
            if step == 1:
                trainer.load_state(trainer.state() | LossScale(256.0, 1998).state())
            trainer.step(IMAGES, LABELS, 0.1)
        assert scale_of(trainer) == [512, 1]
        ends.append({key: array.tobytes() for key, array in (trainer.weights() | trainer.state()).items()})
    return all(end == ends[0] for end in ends)


def skip_an_overflow(name: str, processes: ProcessGroup = SINGLE_PROCESS) -> None:
    """Make a step in which only the second half of the batch overflows, in two parts or processes."""
    weights = initialise(SPEC, 0)
    weights["classifier.bias"][0] = 30  # the gradients of images of class 0 are tiny, and those of others large
    labels = np.repeat([0, 1], 4)
    settings = replace(SETTINGS, world_size=processes.world_size, accumulate=2 // processes.world_size)
    trainer = make_trainer(name, settings, LossScale(2.0**20), weights)
    before = everything(trainer)
    local = processes.local_slice(len(IMAGES))
    trainer.step(IMAGES[local], np.zeros(len(IMAGES[local]), np.int64), 0.1)
    assert scale_of(trainer) == [2.0**20, 1]
    assert everything(trainer) != before
    before = everything(trainer)
    loss, _ = trainer.step(IMAGES[local], labels[local], 0.1)
    assert np.isfinite(loss)
    assert scale_of(trainer) == [2.0**19, 0]
    assert everything(trainer) == before
