"""One training step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import paddle
from paddle.nn import functional as F

from backends.paddle.model import export_weights, load_weights
from backends.paddle.native_weights import NAMES
from backends.paddle.optimizers import create_optimizer, key
from backends.paddle.processes import all_reduce_mean
from repro.arrays import Arrays
from repro.errors import ReproError
from repro.interface import TrainSettings


def cross_entropy(logits: paddle.Tensor, targets: paddle.Tensor, smoothing: float) -> paddle.Tensor:
    """Written out: to Paddle's, no probability is below exp(-64) on the CPU, so that no loss exceeds 64 (issue 20994);
    and its gradient is wrong where targets do not sum up to 1."""
    if targets.ndim == 1:
        targets = F.one_hot(targets, logits.shape[1]).astype(logits.dtype)
    logits = logits - logits.detach().max(1, keepdim=True)  # or large ones would cost their gradients digits
    total = logits.exp().sum(1).log()  # minus a logit, the loss of its class; once, because a thousand add up roundings
    wanted = targets.sum(1) * total - (targets * logits).sum(1)
    return ((1 - smoothing) * wanted + smoothing * (total - logits.mean(1))).mean()


def power(beta: float, steps: int) -> np.float32:
    """beta ** steps, multiplied up in float32 as Paddle does it."""
    found = np.float32(1)
    for _ in range(steps):
        before, found = found, found * np.float32(beta)
        if found == before:  # so small that nothing changes any more
            break
    return found


class Trainer:
    """See repro.interface.Trainer."""

    def __init__(self, model: Any, settings: TrainSettings):
        if settings.precision != "float32":  # its auto_cast says that it does nothing there, and does nothing
            raise ReproError(
                f"precision is {settings.precision}: Paddle has convolutions of float32 and float64 alone on the CPU; "
                "leave precision out, or train with torch or mindspore"
            )
        self.model = model
        self.settings = settings
        self.kinds = model.spec.weights
        native = {NAMES.name(name, self.kinds[name]): name for name in settings.trained_shapes(model.spec)}
        for name, parameter in model.named_parameters():
            parameter.stop_gradient = name not in native
        self.parameters = {native[name]: parameter for name, parameter in model.named_parameters() if name in native}
        own = model.state_dict()
        self.statistics = [own[name] for name in NAMES.native_statistics(self.kinds)]
        self._reset_optimizer()
        self._reset_averages()

    def _reset_optimizer(self) -> None:
        self.name = paddle.utils.unique_name.generate("trainer")
        self.optimizer = create_optimizer(list(self.parameters.values()), self.settings, self.name)
        self.steps = 0

    def _reset_averages(self) -> None:
        averaged = {} if self.settings.ema_decay is None else self.parameters
        self.ema = {name: parameter.detach().clone() for name, parameter in averaged.items()}

    def step(self, images: np.ndarray, targets: np.ndarray, lr: float) -> tuple[float, np.ndarray]:
        self.model.train()
        logits = self.model(paddle.to_tensor(images))
        loss = cross_entropy(logits, paddle.to_tensor(targets), self.settings.label_smoothing)
        loss.backward()
        if self.settings.world_size > 1:
            loss = self._shared(loss)
        self._update(lr)
        return float(loss), logits.numpy()

    def _shared(self, loss: paddle.Tensor) -> paddle.Tensor:
        """The mean over all processes; and gradients and running statistics become theirs."""
        trained = [parameter for parameter in self.parameters.values() if parameter.grad is not None]
        loss, *found = all_reduce_mean([loss, *(parameter.grad for parameter in trained), *self.statistics])
        for parameter, mean in zip(trained, found, strict=False):
            parameter.grad = mean
        for statistic, mean in zip(self.statistics, found[len(trained) :], strict=True):
            statistic.set_value(mean)
        return loss

    def loss(self, logits: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
        tensor = paddle.to_tensor(logits, stop_gradient=False)
        loss = cross_entropy(tensor, paddle.to_tensor(targets), self.settings.label_smoothing)
        return float(loss), paddle.grad(loss, tensor)[0].numpy()

    def update(self, gradients: Mapping[str, np.ndarray], lr: float) -> None:
        for name, parameter in self.parameters.items():
            parameter.grad = self._native(gradients[name], name).astype(parameter.dtype)
        self._update(lr)

    def _update(self, lr: float) -> None:
        """From the gradients that the parameters have."""
        self.optimizer.set_lr(lr)
        if self.settings.clip_norm is not None:
            # the optimizers' own grad_clip has another formula: no 1e-6
            paddle.nn.utils.clip_grad_norm_(list(self.parameters.values()), self.settings.clip_norm)
        self.optimizer.step()
        self.optimizer.clear_grad(set_to_zero=False)
        for name, average in self.ema.items():
            average.lerp_(self.parameters[name].detach(), self.settings.ema_weight(self.steps))
        self.steps += 1

    def predict(self, images: np.ndarray) -> np.ndarray:
        self.model.eval()
        with paddle.no_grad():
            return self.model(paddle.to_tensor(images)).numpy()

    def weights(self) -> Arrays:
        return export_weights(self.model)

    def load_weights(self, arrays: Mapping[str, np.ndarray]) -> None:
        load_weights(self.model, arrays)
        self._reset_averages()

    def _canonical(self, tensor: paddle.Tensor, name: str) -> np.ndarray:
        return np.array(NAMES.to_canonical_axes(tensor.numpy(), self.kinds[name]), order="C")

    def _native(self, array: np.ndarray, name: str) -> paddle.Tensor:
        return paddle.to_tensor(np.array(NAMES.to_native_axes(array, self.kinds[name]), np.float32, order="C"))

    def ema_weights(self) -> Arrays:
        averages = {name: self._canonical(average, name) for name, average in self.ema.items()}
        return self.weights() | averages if averages else {}

    def state(self) -> Arrays:
        arrays: Arrays = {}
        buffers = self.optimizer.state_dict()  # empty before the first step, unless loaded
        for name, parameter in self.parameters.items():
            for slot in self.settings.slots:
                fresh = paddle.full_like(parameter, self.settings.initial_value(slot))
                buffer = buffers.get(key(parameter, self.name, slot), fresh)
                arrays[f"{slot}/{name}"] = self._canonical(buffer, name)
        arrays |= {f"ema/{name}": self._canonical(average, name) for name, average in self.ema.items()}
        return arrays | ({"steps": np.array(self.steps)} if self.settings.counts_steps else {})

    def load_state(self, arrays: Mapping[str, np.ndarray]) -> None:
        arrays = self.settings.complete_state(arrays, self.model.spec)
        self._reset_optimizer()
        self.steps = int(arrays.get("steps", 0))
        powers = [power(beta, self.steps + 1) for beta in self.settings.betas]
        buffers = {}
        for name, parameter in self.parameters.items():
            for slot in self.settings.slots:
                buffers[key(parameter, self.name, slot)] = self._native(arrays[f"{slot}/{name}"], name)
            for number, value in enumerate(powers if self.settings.counts_steps else (), 1):
                buffers[key(parameter, self.name, f"beta{number}_pow_acc")] = paddle.to_tensor([value])
        self.optimizer.set_state_dict(buffers)
        for name in self.ema:
            if f"ema/{name}" in arrays:
                self.ema[name] = self._native(arrays[f"ema/{name}"], name)


def create_trainer(model: Any, settings: TrainSettings) -> Trainer:
    return Trainer(model, settings)
