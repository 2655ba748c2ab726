"""One training step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import paddle
from paddle.nn import functional as F

from backends.paddle.model import export_weights, load_weights
from backends.paddle.native_weights import NAMES
from repro.interface import Arrays, TrainSettings

VELOCITY = "velocity_0"  # what paddle.optimizer.Momentum appends to a parameter's name


class Trainer:
    """See repro.interface.Trainer."""

    def __init__(self, model: Any, settings: TrainSettings):
        self.model = model
        weights = model.spec.weights
        native = {NAMES.name(name, weight): name for name, weight in weights.items()}
        self.parameters = {
            native[name]: parameter for name, parameter in model.named_parameters() if not parameter.stop_gradient
        }
        self.optimizer = paddle.optimizer.Momentum(
            0.0,
            momentum=settings.momentum,
            parameters=list(self.parameters.values()),
            weight_decay=paddle.regularizer.L2Decay(settings.weight_decay) if settings.weight_decay else None,
        )

    def step(self, images: np.ndarray, labels: np.ndarray, lr: float) -> tuple[float, np.ndarray]:
        self.model.train()
        self.optimizer.set_lr(lr)
        logits = self.model(paddle.to_tensor(images))
        loss = F.cross_entropy(logits, paddle.to_tensor(labels))
        loss.backward()
        self.optimizer.step()
        self.optimizer.clear_grad()
        return float(loss), logits.numpy()

    def predict(self, images: np.ndarray) -> np.ndarray:
        self.model.eval()
        with paddle.no_grad():
            return self.model(paddle.to_tensor(images)).numpy()

    def seed(self, value: int) -> None:
        paddle.seed(value)

    def weights(self) -> Arrays:
        return export_weights(self.model)

    def load_weights(self, arrays: Mapping[str, np.ndarray]) -> None:
        load_weights(self.model, arrays)

    def state(self) -> Arrays:
        buffers = self.optimizer.state_dict()  # empty before the first step
        return {
            f"velocity/{name}": NAMES.back(buffers[key].numpy().copy(), self.model.spec.weights[name])
            for name, parameter in self.parameters.items()
            if (key := f"{parameter.name}_{VELOCITY}") in buffers
        }

    def load_state(self, arrays: Mapping[str, np.ndarray]) -> None:
        state = self.optimizer.state_dict()
        for key, array in arrays.items():
            name = key.removeprefix("velocity/")
            turned = np.asarray(NAMES.turn(array, self.model.spec.weights[name]), order="C")
            state[f"{self.parameters[name].name}_{VELOCITY}"] = paddle.to_tensor(turned)
        self.optimizer.set_state_dict(state)


def create_trainer(model: Any, settings: TrainSettings) -> Trainer:
    return Trainer(model, settings)
