"""A backend in NumPy that trains next to nothing, for tests of what is around the training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from repro.interface.dropout_source import SeededDropout
from repro.training.meters import cross_entropy

MODEL = "asymmnet_small_x0_35"
QUICK = ["--backend", "torch", "--model", MODEL, "--image-size", "8", "--batch-size", "256", "--lr", "0.02"]


class SoftmaxRegression:
    """A Trainer that trains only the spec's classifier, on noisy pixels: the noise is drawn as what dropout leaves
    out. One running statistic counts the steps."""

    draw: SeededDropout
    stop: tuple[int, Callable] | None = None  # number of the step, what then happens
    steps_taken = 0

    def __init__(self, spec, settings):
        self.spec, self.settings, self.velocity = spec, settings, {}

    def features(self, images):
        flat = images.reshape(len(images), -1)
        return np.pad(flat, [(0, 0), (0, 1280 - flat.shape[1])])

    def logits(self, features):
        return features @ self.arrays["classifier.weight"].T + self.arrays["classifier.bias"]

    def predict(self, images):
        return self.logits(self.features(images))

    def start_step(self, images, labels, lr):
        result = self.step(images, labels, lr)
        return lambda: result

    def step(self, images, labels, lr):
        SoftmaxRegression.steps_taken += 1
        if self.stop and self.steps_taken == self.stop[0]:
            self.stop[1](self)
        features = self.features(images)
        features = features + 0.3 * self.draw("noise", features.shape) - 0.15
        logits = self.logits(features)
        error = np.exp(logits - logits.max(1, keepdims=True))
        error /= error.sum(1, keepdims=True)
        error[np.arange(len(labels)), labels] -= 1
        gradients = {"classifier.weight": error.T @ features / len(labels), "classifier.bias": error.mean(0)}
        for name, gradient in gradients.items():
            decayed = gradient + self.settings.weight_decay * self.arrays[name]
            self.velocity[name] = self.settings.momentum * self.velocity.get(name, 0) + decayed
            self.arrays[name] = (self.arrays[name] - lr * self.velocity[name]).astype(np.float32)
        statistic = next(name for name in self.arrays if name.endswith("running_mean"))
        self.arrays[statistic] = self.arrays[statistic] + np.float32(1)
        return cross_entropy(logits, labels), logits

    def weights(self):
        return {name: array.copy() for name, array in self.arrays.items()}

    def load_weights(self, arrays):
        self.arrays = {name: np.array(array) for name, array in arrays.items()}

    def state(self):
        return {f"velocity/{name}": array.copy() for name, array in self.velocity.items()}

    def load_state(self, arrays):
        self.velocity = {name.removeprefix("velocity/"): np.array(array) for name, array in arrays.items()}


class Backend:
    version = staticmethod(lambda: "1.0")
    create_model = staticmethod(lambda spec: spec)
    use_device = staticmethod(lambda device: device)
    upload = staticmethod(lambda array: array)

    @staticmethod
    def set_dropout_source(model, draw):
        SoftmaxRegression.draw = draw

    create_trainer = staticmethod(SoftmaxRegression)


def metrics(folder):
    rows = [json.loads(line) for line in Path(folder, "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]
