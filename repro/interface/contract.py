"""The contract that a backend fulfils. A backend is a package (backends.torch, ...) with the functions of Backend.

Everything that crosses it is a NumPy array: images float32 (N, C, H, W), targets int64 (N,) or float32 (N, classes),
logits float32 (N, classes), and weights under their canonical names.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np

    from repro.arrays import Arrays
    from repro.interface.module_outputs import Images
    from repro.interface.module_settings import ModuleDescription
    from repro.interface.native_names import NativeNames
    from repro.interface.settings import TrainSettings
    from repro.specs import Spec


class DropoutSource(Protocol):
    """The random numbers that decide what dropout and drop path leave out."""

    def __call__(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Uniform float32 numbers in [0, 1) of this shape, for the layer of this name."""


class Projection(Protocol):
    """The numbers by which a model's outputs are multiplied, to make a loss of them."""

    def __call__(self, name: str, shape: tuple[int, ...]) -> np.ndarray | None:
        """Float32 numbers of this shape for the output of this name, or None to leave the output out."""


class Feed(Protocol):
    """The arrays on which every module of a network is computed, whatever the module before it returned."""

    def __call__(self, name: str, array: np.ndarray) -> np.ndarray:
        """The array of the same shape and dtype that takes the place of the result of this name."""


StepResult = Callable[[], "tuple[float, np.ndarray]"]  # the mean cross-entropy of a step, and its logits


class Trainer(Protocol):
    """A model with its optimizer. Images may also be what Backend.upload has made of them."""

    def start_step(self, images: np.ndarray, targets: np.ndarray, lr: float) -> StepResult:
        """Start one training step with labels, or with soft targets as mixup yields them.

        Returns a function that waits for the step's mean cross-entropy and logits, both computed before the update. The
        next step may be started before it is called, so that a GPU is never idle. With several processes every rank
        calls `start_step` with its slice of the batch, and the loss is the mean over all ranks. Raises ReproError where
        gradients overflow float16 even without a loss scale.
        """

    def step(self, images: np.ndarray, targets: np.ndarray, lr: float) -> tuple[float, np.ndarray]:
        """Make one training step, and return its mean cross-entropy and logits; see `start_step`."""

    def loss(self, logits: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
        """The mean cross-entropy of a step, and its gradient with respect to the logits."""

    def update(self, gradients: Mapping[str, np.ndarray], lr: float) -> None:
        """Clip the given gradients of the trained weights, by canonical name, and update weights and EMA."""

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Logits in evaluation mode. Repeated calls with the same shape are fast."""

    def predict_modules(self, images: np.ndarray) -> Arrays:
        """The inputs and outputs of all modules in `predict`, named as by Backend.forward with every_module.

        Empty for a compiled network, which does not expose them.
        """

    def weights(self) -> Arrays:
        """Copies of the canonical weights, running statistics included. They are written while later steps are made."""

    def load_weights(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Load canonical weights. The EMA restarts from them."""

    def ema_weights(self) -> Arrays:
        """Copies of the canonical weights with the EMA in place of every trained one; {} without an ema_decay."""

    def state(self) -> Arrays:
        """Copies of everything except the weights that the next step depends on, written while later steps are made.

        The names are "SLOT/NAME" for each of TrainSettings.slots, with canonical names and shapes, "ema/NAME" where
        there is an EMA, "steps" (int64, no axes) where TrainSettings.counts_steps, and those of LossScale.state where
        TrainSettings.scales_loss. Before the first step a slot holds TrainSettings.initial_value.
        """

    def load_state(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Continue from the state() of any backend's trainer, after load_weights; {} is the initial state.

        Raises ReproError, and changes nothing, for the state of other settings.
        """


class Backend(Protocol):
    """The functions of a backend's package. Importing the package must not import the framework."""

    def version(self) -> str:
        """The version of the framework. Raises ImportError where it is not installed."""

    def create_model(
        self, model: str | Spec, *, num_classes: int = 1000, in_channels: int = 3, **options: object
    ) -> Any:
        """A plain model of the framework (nn.Module, nn.Layer, nn.Cell) with a `.spec`, initialised by the framework.

        model: the name of a variant, with the options of its family, or a spec. Raises ReproError for an unknown name
        or an impossible setting.
        """

    def wrap_user_model(self, model: Any, title: str) -> Any:
        """A user model, ready for the functions below: its `spec` is a UserModelSpec.

        title: what messages call the model. Raises ReproError for an object that is not a model of the framework.
        """

    def describe_modules(self, model: Any) -> dict[str, ModuleDescription]:
        """The modules of a user model by path, as they are now, the model itself under ""."""

    def random_modules(self, model: Any, images: Images, *, train: bool) -> list[str]:
        """The paths of modules of a user model that draw random numbers in a forward pass, as far as that can be seen.

        Layers that draw from the source of set_dropout_source are left out. The path of the model itself is "".
        """

    def gradients(self, model: Any, images: Images, projection: Projection) -> Arrays:
        """The gradients of all parameters of a user model, in training mode, by canonical name.

        The loss is the sum of all outputs, each multiplied by its projection.
        """

    def load_weights(self, model: Any, arrays: Mapping[str, np.ndarray]) -> None:
        """Copy canonical weights into the model. Raises ReproError, and changes nothing, unless all of them fit."""

    def export_weights(self, model: Any) -> Arrays:
        """Copies of the model's weights under their canonical names."""

    def to_float64(self, make: Callable[[], Any]) -> Any:
        """The model that `make` returns, in float64. Raises ReproError where the framework cannot run it."""

    def truncate(self, model: Any, spec: Spec) -> None:
        """Give the model's trained parameters the shapes of another spec with the same names, and that spec.

        The result cannot run. It serves Trainer.update and Trainer.loss with little memory.
        """

    def forward(self, model: Any, images: Images, *, train: bool = False, every_module: bool = False) -> Arrays:
        """The output of every stage that the spec names, in the order of computation, with "logits" as the last.

        A user model may have several inputs and outputs, which repro.interface.module_outputs.output_tensors names.
        train: run in training mode, which changes the running statistics; every_module: return the output of every
        module as "NAME" and its input as "input of NAME" instead; a module that runs again is "NAME (2)".
        """

    def forward_with_values(
        self, model: Any, images: Images, names: Collection[str], values: Mapping[str, np.ndarray],
        seeds: Mapping[str, np.ndarray], *, train: bool,
    ) -> tuple[Arrays, dict[str, str]]:  # fmt: skip
        """A forward pass in which each value in `values` is put in place of the one that the model computes.

        names: the values to return as they are computed, before they are replaced, named as by `forward` with
        every_module; the outputs are always among the results. A value of another shape is not put in place. seeds:
        gradients with respect to computed values; with them the results have "gradient of NAME" for each value in
        `names`, with respect to what was put in its place, and for each weight. A replaced value ends the gradients of
        what follows from it, so that each module and each piece of code between modules is seen without the errors of
        others. Also returns the place "FILE:LINE" of the call for each value.
        """

    def feed_modules(self, model: Any, images: np.ndarray, feed: Feed) -> None:
        """Run in evaluation mode, with feed(NAME, ARRAY) in the place of every tensor that enters or leaves a module.

        The names are those of `forward` with every module; each input of a module is called "input of NAME", and a
        name comes again where a module has several inputs or runs again. The last one is "logits".
        """

    def set_dropout_source(self, model: Any, source: DropoutSource) -> None:
        """Let the model's dropout and drop-path layers, in training, drop where source(NAME, shape) is below the rate.

        Each layer that runs calls it once a step, in any order. The shape is that of the layer's input, or (N, 1, 1, 1)
        for drop path.
        """

    def operators(self, model: Any, size: int) -> list[dict[str, Any]]:
        """Describe what the framework built, counted by running one image of `size` x `size` pixels.

        Returns the fields of repro.specs.OperatorCost for each convolution, normalisation and linear layer, in order of
        computation.
        """

    def create_trainer(self, model: Any, settings: TrainSettings) -> Trainer:
        """A trainer of the model, which it changes in place."""

    def use_device(self, device: str) -> str:
        """Compute on the "cpu" or the "gpu" from now on; with several processes, each on a GPU of its own.

        Returns the framework's name of the device. Raises whatever the framework raises where there is none.
        """

    def upload(self, array: np.ndarray) -> Any:
        """The array on the GPU that use_device has chosen, for a Trainer to compute with; otherwise the array itself.

        What is returned has the indexing, the operators (with broadcasting and rounding) and the `shape` of an array.
        """

    def init_distributed(self) -> None:
        """Join the processes that the framework's launcher started. Call it after use_device, before all else.

        Raises whatever the framework raises where the others cannot be reached or the launcher wants another device.
        """

    def all_reduce_sum(self, numbers: np.ndarray) -> np.ndarray:
        """All-reduce sum of a float64 vector (K,). Collective: every process must call it."""

    def export_onnx(self, model: Any, path: Path, size: int) -> None:
        """Write the model in evaluation mode as ONNX, with the logits as its only output.

        Its only input is (N, C, size, size) with a free batch size N. Raises whatever the framework's exporter raises.
        """


class NativeWeights(Protocol):
    """The module `native_weights` of a backend's package: native files, without the framework."""

    NAMES: NativeNames
    EXTENSIONS: tuple[str, ...]

    def read(self, path: Path) -> Arrays:
        """The arrays of a native file under their native names. The file is not trusted."""

    def write(self, path: Path, arrays: Mapping[str, np.ndarray]) -> None:
        """Write a file that a plain user of the framework can load into the model that create_model returns."""
