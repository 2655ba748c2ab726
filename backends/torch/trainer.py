"""One training step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from backends.torch.model import export_weights, load_weights
from repro.interface import Arrays, TrainSettings


class Trainer:
    """See repro.interface.Trainer."""

    def __init__(self, model: Any, settings: TrainSettings):
        self.model = model
        self.parameters = dict(model.named_parameters())
        self.optimizer = torch.optim.SGD(
            model.parameters(), lr=0.0, momentum=settings.momentum, weight_decay=settings.weight_decay
        )

    def step(self, images: np.ndarray, labels: np.ndarray, lr: float) -> tuple[float, np.ndarray]:
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        logits = self.model(torch.from_numpy(images))
        loss = F.cross_entropy(logits, torch.from_numpy(labels))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item(), logits.detach().numpy()

    def predict(self, images: np.ndarray) -> np.ndarray:
        self.model.eval()
        with torch.inference_mode():
            return self.model(torch.from_numpy(images)).numpy()

    def seed(self, value: int) -> None:
        torch.manual_seed(value)

    def weights(self) -> Arrays:
        return export_weights(self.model)

    def load_weights(self, arrays: Mapping[str, np.ndarray]) -> None:
        load_weights(self.model, arrays)

    def state(self) -> Arrays:
        buffers = {name: self.optimizer.state[parameter] for name, parameter in self.parameters.items()}
        return {
            f"velocity/{name}": buffer["momentum_buffer"].numpy().copy()
            for name, buffer in buffers.items()
            if buffer.get("momentum_buffer") is not None  # none before the first step, nor without momentum
        }

    def load_state(self, arrays: Mapping[str, np.ndarray]) -> None:
        for name, array in arrays.items():
            parameter = self.parameters[name.removeprefix("velocity/")]
            self.optimizer.state[parameter]["momentum_buffer"] = torch.from_numpy(np.array(array))


def create_trainer(model: Any, settings: TrainSettings) -> Trainer:
    return Trainer(model, settings)
