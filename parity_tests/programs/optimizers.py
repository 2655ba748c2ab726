"""Programs and settings of parity_tests/backends/test_optimizers.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from parity_tests.programs.common import random_images
from repro.arrays import Arrays
from repro.errors import ReproError
from repro.interface import TrainSettings
from repro.interface.contract import Trainer
from repro.interface.discovery import load_backend
from repro.specs.resnet_cifar import resnet_cifar
from repro.weights.init import initialise

SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {"momentum": 0.0},
    "momentum": {"weight_decay": 0.1},
    "nesterov": {"weight_decay": 0.1, "nesterov": True},
    "adam": {"optimizer": "adam", "label_smoothing": 0.1},
    "adam_decay": {"optimizer": "adam", "weight_decay": 0.1, "betas": (0.8, 0.99), "eps": 1e-3},
    "adamw_soft": {"optimizer": "adamw", "weight_decay": 0.1},
    "rmsprop_soft": {"optimizer": "rmsprop", "momentum": 0.0, "weight_decay": 0.1, "label_smoothing": 0.1},
    "rmsprop_momentum": {"optimizer": "rmsprop", "alpha": 0.9, "eps": 1e-2},
    "rmsprop_tf": {"optimizer": "rmsprop_tf", "alpha": 0.9, "eps": 1e-2, "weight_decay": 0.1},
    "spared": {"weight_decay": 0.1, "spare_bias_and_norm": True},
    "spared_adam": {"optimizer": "adam", "weight_decay": 0.1, "spare_bias_and_norm": True},
    "spared_adamw": {"optimizer": "adamw", "weight_decay": 0.1, "spare_bias_and_norm": True},
    "spared_rmsprop_tf": {"optimizer": "rmsprop_tf", "momentum": 0.0, "weight_decay": 0.1, "spare_bias_and_norm": True},
    "clip_ema": {"clip_norm": 0.5, "ema_decay": 0.8},
    "warmup_ema": {"ema_decay": 0.3, "ema_warmup": True},
    "classifier": {"train_only": "classifier", "weight_decay": 0.1, "ema_decay": 0.8},
    "stem": {"train_only": "stem", "weight_decay": 0.1},  # its gradient passes through frozen normalisations
}
# one for each kind of state
RESUMED = ("momentum", "adam_decay", "rmsprop_momentum", "rmsprop_tf", "clip_ema", "warmup_ema", "classifier", "stem")
RATES = (0.02, 0.02, 0.01, 0.005, 0.01)  # learning rate of each step
STEPS = len(RATES)
STEPS_BEFORE_RESUME = 2


def subset(arrays: Arrays, prefix: str) -> Arrays:
    """The arrays "PREFIX/NAME", under NAME."""
    return {name.removeprefix(prefix + "/"): array for name, array in arrays.items() if name.startswith(prefix + "/")}


class Recorder:
    """Trains a small network of one residual unit under every setting, and records all arrays along the way."""

    def __init__(self, name: str):
        self.backend = load_backend(name)
        spec = resnet_cifar(depth=110, num_classes=5, block="basic")
        self.spec = replace(spec, stages=(spec.stages[0][:1],))
        rng = np.random.default_rng(0)
        self.start = initialise(self.spec, 0)
        self.images = random_images((STEPS, 8, 3, 12, 12), 0).astype(np.float32)
        self.labels = rng.integers(0, 5, (STEPS, 8))
        self.soft = rng.random((STEPS, 8, 5)).astype(np.float32)  # rows that do not sum to 1
        self.arrays: Arrays = {"labels": self.labels, "soft": self.soft}
        # plain momentum at a learning rate of 0: its velocities after one step from {} are the gradients
        self.probes: dict[tuple[Any, ...], Trainer] = {}

    def trainer(self, **options: Any) -> Trainer:
        trainer = self.backend.create_trainer(self.backend.create_model(self.spec), TrainSettings(**options))
        trainer.load_weights(self.start)
        return trainer

    def probe(self, options: dict[str, Any]) -> Trainer:
        """The trainer that yields the gradients of settings."""
        loss_options = {key: options[key] for key in ("label_smoothing", "train_only") if key in options}
        key = tuple(loss_options.items())
        if key not in self.probes:
            self.probes[key] = self.trainer(**loss_options)
        return self.probes[key]

    def record(self, prefix: str, arrays: Arrays) -> None:
        self.arrays.update({f"{prefix}/{name}": array for name, array in arrays.items()})

    def targets(self, name: str) -> np.ndarray:
        return self.soft if "soft" in name else self.labels

    def train(self, name: str) -> Trainer:
        """Record weights, state, gradients, loss, logits and EMA weights of every step under SETTINGS[name]."""
        options, targets = SETTINGS[name], self.targets(name)
        trainer, probe = self.trainer(**options), self.probe(options)
        for step in range(STEPS):
            self.record(f"{name}/{step}/weights", trainer.weights())
            self.record(f"{name}/{step}/state", trainer.state())
            probe.load_weights(trainer.weights())
            probe.load_state({})
            probe.step(self.images[step], targets[step], 0.0)
            self.record(f"{name}/{step}/gradient", subset(probe.state(), "velocity"))
            loss, logits = trainer.step(self.images[step], targets[step], RATES[step])
            self.record(f"{name}/{step}", {"loss": np.float64(loss), "logits": logits})  # type: ignore[dict-item]
            self.record(f"{name}/{step}/ema", trainer.ema_weights())
        self.record(f"{name}/{STEPS}/weights", trainer.weights())
        self.record(f"{name}/{STEPS}/state", trainer.state())
        return trainer

    def resume(self, trainer: Trainer, name: str, source: Arrays, label: str) -> None:
        """Record the last step of a trainer that resumes from a record of the first steps."""
        trainer.load_weights(subset(source, f"{name}/{STEPS_BEFORE_RESUME}/weights"))
        trainer.load_state(subset(source, f"{name}/{STEPS_BEFORE_RESUME}/state"))
        targets = self.targets(name)
        for step in range(STEPS_BEFORE_RESUME, STEPS):
            trainer.step(self.images[step], targets[step], RATES[step])
        self.record(f"{name}/{label}", trainer.weights() | trainer.state())


def _check_bad_states(trainer: Trainer) -> None:
    """A state of other settings is refused, and changes nothing."""
    before = trainer.weights() | trainer.state()
    for broken in ({"velocity/nothing": np.zeros(1)}, dict(list(before.items())[-1:])):
        try:
            trainer.load_state(broken)
        except ReproError:
            continue
        raise AssertionError(broken)
    after = trainer.weights() | trainer.state()
    assert all(np.array_equal(before[key], after[key]) for key in before | after)


def _check_ema_restarts(trainer: Trainer, start: Arrays) -> None:
    before = trainer.ema_weights()
    trainer.load_weights(start)
    after = trainer.ema_weights()
    assert after.keys() == before.keys()
    assert all(np.array_equal(after[key], start[key]) for key in after)


def _check_second_trainer(recorder: Recorder) -> None:
    """A second trainer of the same model starts with a state of its own."""
    model = recorder.backend.create_model(recorder.spec)
    for lr in (0.1, 0.2):
        trainer = recorder.backend.create_trainer(model, TrainSettings(compiled=False))
        trainer.load_weights(recorder.start)
        trainer.step(recorder.images[0], recorder.labels[0], lr)
    expected = recorder.arrays["momentum/0/gradient/stem.conv.weight"]
    assert np.array_equal(trainer.state()["velocity/stem.conv.weight"], expected)


def record_training(backend: str, path: str, torch_path: str | None) -> None:
    """Write all records of a backend to an .npz file; torch's, where it is given, is resumed from, too."""
    recorder = Recorder(backend)
    torch_arrays: Arrays | None = None
    if torch_path:
        with np.load(torch_path) as file:
            torch_arrays = dict(file)
    for name in SETTINGS:
        trainer = recorder.train(name)
        if name not in RESUMED:
            continue
        trainer.step(recorder.images[0], recorder.targets(name)[0], 1.0)  # the state must not depend on earlier steps
        recorder.resume(trainer, name, recorder.arrays, "resumed")
        if torch_arrays is not None:
            recorder.resume(trainer, name, torch_arrays, "resumed from torch")
        if "steps" in trainer.state():
            no_steps = {f"{name}/{STEPS_BEFORE_RESUME}/state/steps": np.array(0)}
            recorder.resume(trainer, name, recorder.arrays | no_steps, "resumed without steps")
        _check_bad_states(trainer)
        _check_ema_restarts(trainer, recorder.start)
    _check_second_trainer(recorder)
    np.savez(path, **recorder.arrays)  # type: ignore[arg-type]


def errors_of_timms_rmsprop() -> list[float]:
    """The largest difference of a weight from timm's, relative to a tolerance of 1e-6 (1 + its magnitude), per step."""
    import torch
    from timm.optim import RMSpropTF

    from backends.torch.optimizers import create_optimizer

    options: dict[str, Any] = {"alpha": 0.9, "eps": 1e-3, "momentum": 0.9, "weight_decay": 0.1}
    torch.manual_seed(0)
    ours = torch.nn.Parameter(torch.randn(5, 3))
    reference = torch.nn.Parameter(ours.detach().clone())
    optimizers = (
        (ours, create_optimizer([ours], TrainSettings(optimizer="rmsprop_tf", **options))),
        (reference, RMSpropTF([reference], lr=0.0, **options)),
    )
    errors = []
    for lr in (0.1, 0.05, 0.2):
        gradient = torch.randn(5, 3)
        for parameter, optimizer in optimizers:
            parameter.grad, optimizer.param_groups[0]["lr"] = gradient.clone(), lr
            optimizer.step()
        errors.append(float(((ours - reference).abs() / (1e-6 + 1e-6 * reference.abs())).max()))
    return errors
