"""What the core asks of a backend. A backend is a module (backends.torch, ...) with the functions of Backend.

Everything that crosses is a NumPy array: images float32 (N, C, H, W), labels int64 (N,), logits float32 (N, classes),
weights under their canonical names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from repro.specs import Spec
from repro.weights.native import NativeNames

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class TrainSettings:
    """What a step does besides the learning rate, which the core gives with every step.

    SGD as torch has it: velocity = momentum * velocity + gradient + weight_decay * weight; weight -= lr * velocity.
    The decay is on every trained weight.
    """

    momentum: float = 0.9
    weight_decay: float = 0.0


class Trainer(Protocol):
    """A model with its optimizer."""

    def step(self, images: np.ndarray, labels: np.ndarray, lr: float) -> tuple[float, np.ndarray]:
        """One step of training. Returns the mean cross-entropy and the logits, both from before the update."""

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Logits in evaluation mode. Quick for repeated calls with the same shape."""

    def seed(self, value: int) -> None:
        """Makes what later steps draw at random (dropout) a function of `value`."""

    def weights(self) -> Arrays:
        """Copies of the canonical weights, running statistics among them."""

    def load_weights(self, arrays: Mapping[str, np.ndarray]) -> None: ...

    def state(self) -> Arrays:
        """Copies of the optimizer's arrays, as "velocity/NAME" with canonical names and shapes."""

    def load_state(self, arrays: Mapping[str, np.ndarray]) -> None: ...


class Backend(Protocol):
    """The functions of a backend's package. Importing the package must not import the framework."""

    def version(self) -> str:
        """The framework's version."""

    def create_model(
        self, model: str | Spec, *, num_classes: int = 1000, in_channels: int = 3, **options: object
    ) -> Any:
        """A plain model of the framework (nn.Module, nn.Layer, nn.Cell) with `.spec`, freshly initialised by it."""

    def load_weights(self, model: Any, arrays: Mapping[str, np.ndarray]) -> None: ...

    def export_weights(self, model: Any) -> Arrays: ...

    def to_float64(self, model: Any) -> Any:
        """The model in double precision; raises ReproError where the framework cannot run it."""

    def forward(self, model: Any, images: np.ndarray) -> Arrays:
        """The output in evaluation mode of every stage that the spec names (the modules of those names), "logits"
        among them as the last."""

    def operators(self, model: Any, size: int) -> list[dict[str, Any]]:
        """What the framework itself built, counted by running one image: for each convolution, normalisation and
        linear layer, in the order of running, the fields of repro.specs.Operator."""

    def create_trainer(self, model: Any, settings: TrainSettings) -> Trainer: ...


class NativeWeights(Protocol):
    """`native_weights` of a backend's package: its files, read and written without the framework."""

    NAMES: NativeNames
    EXTENSIONS: tuple[str, ...]

    def read(self, path: Path) -> Arrays:
        """The arrays of a native file under their native names. The file is not trusted."""

    def write(self, path: Path, arrays: Mapping[str, np.ndarray]) -> None:
        """A file that a plain user of the framework loads into the model that create_model returns."""
