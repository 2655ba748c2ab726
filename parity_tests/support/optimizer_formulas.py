"""The updates that repro.interface.TrainSettings defines, in NumPy's float64."""

from __future__ import annotations

import numpy as np

from repro.arrays import Arrays
from repro.interface import TrainSettings


class OptimizerFormulas:
    """Weights, EMA and optimizer state under some settings, updated one weight after the other."""

    def __init__(self, settings: TrainSettings, weights: Arrays):
        self.settings, self.steps = settings, 0
        self.weights = {name: array.astype(np.float64) for name, array in weights.items()}
        self.ema = dict(self.weights)
        self.state = {
            f"{slot}/{name}": np.zeros_like(weight) for slot in settings.slots for name, weight in self.weights.items()
        }
        if settings.optimizer == "rmsprop_tf":
            self.state |= {f"square/{name}": np.ones_like(weight) for name, weight in self.weights.items()}

    def step(self, gradients: Arrays, lr: float) -> None:
        """Update everything with the gradients of all weights."""
        settings = self.settings
        self.steps += 1
        gradients = {name: gradient.astype(np.float64) for name, gradient in gradients.items()}
        if settings.clip_norm is not None:
            norm = np.sqrt(sum((gradient**2).sum() for gradient in gradients.values()))
            scale = min(1, settings.clip_norm / (norm + 1e-6))
            gradients = {name: gradient * scale for name, gradient in gradients.items()}
        for name, gradient in gradients.items():
            weight = self.weights[name]
            decay = 0 if settings.spare_bias_and_norm and weight.ndim == 1 else settings.weight_decay
            if settings.optimizer == "adamw":
                change = lr * decay * weight + lr * self._direction(name, gradient)
            elif settings.optimizer == "rmsprop_tf":
                change = self._tensorflow_change(name, gradient + decay * weight, lr)
            else:
                change = lr * self._direction(name, gradient + decay * weight)
            self.weights[name] = weight - change
            if settings.ema_decay is not None:
                decay = settings.ema_decay
                if settings.ema_warmup:
                    decay = min(decay, self.steps / (9 + self.steps))
                self.ema[name] = decay * self.ema[name] + (1 - decay) * self.weights[name]

    def _direction(self, name: str, gradient: np.ndarray) -> np.ndarray:
        """The change of a weight divided by the learning rate."""
        settings = self.settings
        if settings.optimizer in ("adam", "adamw"):
            beta1, beta2 = settings.betas
            moment1 = self._moving_average("moment1", name, beta1, gradient) / (1 - beta1**self.steps)
            moment2 = self._moving_average("moment2", name, beta2, gradient**2) / (1 - beta2**self.steps)
            return moment1 / (np.sqrt(moment2) + settings.eps)
        if settings.optimizer == "rmsprop":
            square = self._moving_average("square", name, settings.alpha, gradient**2)
            gradient = gradient / (np.sqrt(square) + settings.eps)
        if not settings.momentum:
            return gradient
        velocity = self._velocity(name, gradient)
        return gradient + settings.momentum * velocity if settings.nesterov else velocity

    def _tensorflow_change(self, name: str, gradient: np.ndarray, lr: float) -> np.ndarray:
        """The change of a weight where the learning rate enters the velocity and epsilon the square root."""
        square = self._moving_average("square", name, self.settings.alpha, gradient**2)
        change = lr * gradient / np.sqrt(square + self.settings.eps)
        return self._velocity(name, change) if self.settings.momentum else change

    def _velocity(self, name: str, change: np.ndarray) -> np.ndarray:
        velocity = self.state[f"velocity/{name}"] = self.settings.momentum * self.state[f"velocity/{name}"] + change
        return velocity

    def _moving_average(self, slot: str, name: str, decay: float, value: np.ndarray) -> np.ndarray:
        average = self.state[f"{slot}/{name}"] = decay * self.state[f"{slot}/{name}"] + (1 - decay) * value
        return average
