"""One training step, compiled as a graph: twice as quick on the CPU as MindSpore's eager mode, and equal to the bit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mindspore
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from backends.mindspore.model import export_weights, load_weights, mode
from backends.mindspore.native_weights import NAMES
from repro.interface import Arrays, TrainSettings


class Step(nn.Cell):
    """Forward, loss, gradients and update."""

    def __init__(self, model: nn.Cell, optimizer: nn.Optimizer):
        super().__init__(auto_prefix=False)  # the model's parameters keep their names
        self.model = model
        self.optimizer = optimizer
        self.loss = nn.CrossEntropyLoss()
        self.gradients = ops.value_and_grad(self.compute, None, optimizer.parameters, has_aux=True)

    def compute(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.model(images)
        return self.loss(logits, labels), logits

    def construct(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        (loss, logits), gradients = self.gradients(images, labels)
        return ops.depend(loss, self.optimizer(gradients)), logits


class Trainer:
    """See repro.interface.Trainer."""

    def __init__(self, model: Any, settings: TrainSettings):
        self.model = model
        weights = model.spec.weights
        self.canonical = {NAMES.name(name, weight): name for name, weight in weights.items()}
        # without a group of their own, MindSpore spares gamma and beta the decay
        groups = [{"params": model.trainable_params(), "weight_decay": settings.weight_decay}]
        self.optimizer = nn.Momentum(groups, learning_rate=0.1, momentum=settings.momentum)
        self.train_step = Step(model, self.optimizer)

    def step(self, images: np.ndarray, labels: np.ndarray, lr: float) -> tuple[float, np.ndarray]:
        self.optimizer.learning_rate.set_data(Tensor(lr, mindspore.float32))
        with mode(mindspore.GRAPH_MODE):
            self.train_step.set_train(True)
            loss, logits = self.train_step(Tensor(images), Tensor(labels.astype(np.int32)))
            return float(loss.asnumpy()), logits.asnumpy()

    def predict(self, images: np.ndarray) -> np.ndarray:
        with mode(mindspore.GRAPH_MODE):
            self.model.set_train(False)
            return self.model(Tensor(images)).asnumpy()

    def seed(self, value: int) -> None:
        mindspore.set_seed(value)

    def weights(self) -> Arrays:
        return export_weights(self.model)

    def load_weights(self, arrays: Mapping[str, np.ndarray]) -> None:
        load_weights(self.model, arrays)

    def _velocities(self) -> dict[str, Parameter]:
        pairs = zip(self.optimizer.parameters, self.optimizer.moments, strict=True)
        return {f"velocity/{self.canonical[parameter.name]}": moment for parameter, moment in pairs}

    def state(self) -> Arrays:
        return {key: moment.asnumpy().copy() for key, moment in self._velocities().items()}

    def load_state(self, arrays: Mapping[str, np.ndarray]) -> None:
        velocities = self._velocities()
        for key, array in arrays.items():
            velocities[key].set_data(Tensor(array))


def create_trainer(model: Any, settings: TrainSettings) -> Trainer:
    return Trainer(model, settings)
