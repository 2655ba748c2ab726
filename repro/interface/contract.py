"""The contract that a backend fulfils. A backend is a module (backends.torch, ...) with the functions of Backend.

Everything that crosses is a NumPy array: images float32 (N, C, H, W), targets int64 (N,) or float32 (N, classes),
logits float32 (N, classes), weights under their canonical names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np

    from repro.arrays import Arrays
    from repro.interface.native_names import NativeNames
    from repro.interface.settings import TrainSettings
    from repro.specs import Spec


class Trainer(Protocol):
    """A model with its optimizer."""

    def step(self, images: np.ndarray, targets: np.ndarray, lr: float) -> tuple[float, np.ndarray]:
        """One step of training on labels, or on soft targets (mixed or distilled ones). Returns the mean cross-entropy
        and the logits, both from before the update. In several processes all make it, and the loss is that of all."""

    def loss(self, logits: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
        """The mean cross-entropy of a step, and its gradient by the logits."""

    def update(self, gradients: Mapping[str, np.ndarray], lr: float) -> None:
        """What a step does once it has the gradients, here given under the canonical names of the trained weights:
        clips them, and updates weights and averages."""

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Logits in evaluation mode. Quick for repeated calls with the same shape."""

    def weights(self) -> Arrays:
        """Copies of the canonical weights, running statistics among them."""

    def load_weights(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Loads canonical weights. The averages start again from these."""

    def averages(self) -> Arrays:
        """Copies of the canonical weights with the moving average of each trained one; {} without an ema_decay."""

    def state(self) -> Arrays:
        """Copies of all that the next step depends on beside the weights: "SLOT/NAME" with canonical names and shapes
        for each of TrainSettings.slots, "ema/NAME" where there are averages, and the number of "steps" (int64, no axes)
        where it counts. TrainSettings.before the first step."""

    def load_state(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Goes on from what state() of any backend's trainer yielded, after load_weights; {} is a fresh optimizer.
        Raises ReproError, and changes nothing, for one of other settings."""


class Draw(Protocol):
    """The random numbers that decide what dropout and drop path leave out."""

    def __call__(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Uniform float32 numbers in [0, 1) of this shape for the module of this name."""


class Backend(Protocol):
    """The functions of a backend's package. Importing the package must not import the framework."""

    def version(self) -> str:
        """The framework's version."""

    def create_model(
        self, model: str | Spec, *, num_classes: int = 1000, in_channels: int = 3, **options: object
    ) -> Any:
        """A plain model of the framework (nn.Module, nn.Layer, nn.Cell) with `.spec`, freshly initialised by it."""

    def adopt(self, model: Any, title: str) -> Any:
        """A model that is not ours, ready for all of the functions below: its `spec` is a ForeignSpec, and its output
        the first of what it puts out. Raises ReproError for what is no model of the framework, and later, when it runs,
        for an output that is no tensor. title: what to call it there."""

    def load_weights(self, model: Any, arrays: Mapping[str, np.ndarray]) -> None: ...

    def export_weights(self, model: Any) -> Arrays: ...

    def to_float64(self, make: Callable[[], Any]) -> Any:
        """The model that `make` makes, in double precision; raises ReproError where the framework cannot run it."""

    def thin(self, model: Any, spec: Spec) -> None:
        """Gives the model's trained parameters the shapes that they have in another spec of the same names, and this
        spec: enough for Trainer.update and Trainer.loss, with little memory. It cannot run any more."""

    def forward(self, model: Any, images: np.ndarray, train: bool = False, closely: bool = False) -> Arrays:
        """The output of every stage that the spec names (the modules of those names), "logits" among them as the last,
        in evaluation mode or in training mode, which changes the running statistics.

        closely: of every module, as "NAME", and what each is given, as "enters NAME", in the order of running, where a
        module that runs again is "NAME (2)".
        """

    def drop_by(self, model: Any, draw: Draw) -> None:
        """From now on the model's dropout and drop-path layers leave out, in training, what draw(NAME, shape) puts
        below their rate: each that runs is asked once a step, in any order. The shape is that of what is dropped from,
        or (N, 1, 1, 1) for a path."""

    def operators(self, model: Any, size: int) -> list[dict[str, Any]]:
        """What the framework itself built, counted by running one image: for each convolution, normalisation and
        linear layer, in the order of running, the fields of repro.specs.Operator."""

    def create_trainer(self, model: Any, settings: TrainSettings) -> Trainer: ...

    def use(self, device: str) -> str:
        """Computes on the "cpu" or the "gpu" from now on, all that is made afterwards; in several processes each has a
        GPU of its own. Returns the framework's name for it. Raises what the framework does where there is none."""

    def join(self) -> None:
        """Joins the other processes that the framework's launcher has started; after `use`, before all else. Raises
        what the framework does where they are not there, or where its launcher wants another device."""

    def totals(self, numbers: np.ndarray) -> np.ndarray:
        """Of float64 (K,), over all processes that have joined; all must ask."""

    def export_onnx(self, model: Any, path: Path, size: int) -> None:
        """Writes the model in evaluation mode as ONNX with one input (N, C, size, size), whose batch size N is free,
        and one output, the logits. Raises what the framework's exporter does where that cannot."""


class NativeWeights(Protocol):
    """`native_weights` of a backend's package: its files, read and written without the framework."""

    NAMES: NativeNames
    EXTENSIONS: tuple[str, ...]

    def read(self, path: Path) -> Arrays:
        """The arrays of a native file under their native names. The file is not trusted."""

    def write(self, path: Path, arrays: Mapping[str, np.ndarray]) -> None:
        """A file that a plain user of the framework loads into the model that create_model returns."""
