"""What the core asks of a backend. A backend is a module (backends.torch, ...) with the functions of Backend.

Everything that crosses is a NumPy array: images float32 (N, C, H, W), targets int64 (N,) or float32 (N, classes),
logits float32 (N, classes), weights under their canonical names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from repro.errors import ReproError, unknown
from repro.specs import STATISTICS, Spec
from repro.weights.native import NativeNames

Arrays = dict[str, np.ndarray]
Draw = Callable[[str, tuple[int, ...]], np.ndarray]  # a module's name and a shape -> float32 from 0 to below 1
OPTIMIZERS = ("sgd", "adam", "adamw", "rmsprop", "rmsprop_tf")
PRECISIONS = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class TrainSettings:
    """What a step does besides the learning rate, which the core gives with every step.

    With g the gradient, w a trained weight (gamma and beta too) and t the number of the step from 1, as torch.optim;
    and rmsprop_tf as TensorFlow, in which the EfficientNets were trained:

    clip_norm   first of all, g *= min(1, clip_norm / (norm + 1e-6)), norm being the L2 norm of all gradients together
    sgd         g += weight_decay * w;  velocity = momentum * velocity + g
                w -= lr * velocity;  nesterov: w -= lr * (g + momentum * velocity)
    adam        g += weight_decay * w
                moment1 = betas[0] * moment1 + (1 - betas[0]) * g;  moment2 = betas[1] * moment2 + (1 - betas[1]) * g**2
                w -= lr * moment1 / (1 - betas[0]**t) / (sqrt(moment2 / (1 - betas[1]**t)) + eps)
    adamw       w -= lr * weight_decay * w, then adam without decay
    rmsprop     g += weight_decay * w;  square = alpha * square + (1 - alpha) * g**2
                velocity = momentum * velocity + g / (sqrt(square) + eps);  w -= lr * velocity
    rmsprop_tf  g and square as above, with a square of 1 before the first step
                velocity = momentum * velocity + lr * g / sqrt(square + eps);  w -= velocity
    ema_decay   last of all, average = ema_decay * average + (1 - ema_decay) * w; running statistics are copied
    ema_warmup  in place of ema_decay, min(ema_decay, t / (9 + t)): an early average is not of the first weights

    spare_bias_and_norm: weight_decay is 0 for weights of one axis: biases, gammas, betas and the scales of layers.

    train_only: weights whose canonical names begin with it are trained, and the others stay; running statistics follow
    the images all the same. label_smoothing: targets become (1 - label_smoothing) * target + label_smoothing / classes.

    precision: of convolutions and matrix products, in training and in Trainer.predict, by the framework's own mixed
    mode; the loss, the weights and their update stay float32. Of float16, whose smallest numbers are gradients, the
    loss is multiplied by loss_scale before the gradients are taken, and these are divided by it.

    processes: how many make every step together, each on its share of the batch (Backend.join). Gradients and running
    statistics become their means over all, before anything else. A normalisation by batches sees its share alone.
    """

    momentum: float = 0.9  # of sgd and rmsprop
    weight_decay: float = 0.0
    spare_bias_and_norm: bool = False
    optimizer: str = "sgd"
    nesterov: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    alpha: float = 0.99
    clip_norm: float | None = None
    label_smoothing: float = 0.0
    ema_decay: float | None = None
    ema_warmup: bool = False
    train_only: str = ""
    precision: str = "float32"
    processes: int = 1
    compiled: bool = True  # in MindSpore, as a graph: the results are the same; some tens of steps pay for compiling

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise unknown("optimizer", self.optimizer, OPTIMIZERS)
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)
        if not isinstance(self.betas, tuple) or len(self.betas) != 2:
            raise ReproError(f"betas are {self.betas!r}; give two numbers, such as (0.9, 0.999)")
        fractions = {"momentum": self.momentum, "alpha": self.alpha, "label_smoothing": self.label_smoothing}
        fractions |= {f"betas[{index}]": beta for index, beta in enumerate(self.betas)}
        if self.ema_decay is not None:
            fractions["ema_decay"] = self.ema_decay
        for name, value in fractions.items():
            if not _is_number(value) or not 0 <= value < 1:
                raise ReproError(f"{name} is {value!r}; give a number from 0 to less than 1")
        if not _is_number(self.weight_decay) or not 0 <= self.weight_decay < math.inf:
            raise ReproError(f"weight_decay is {self.weight_decay!r}; give a number from 0 up")
        # with an eps of 0, a weight without a gradient would become 0 / 0
        for name, value in {"eps": self.eps, "clip_norm": 1 if self.clip_norm is None else self.clip_norm}.items():
            if not _is_number(value) or not 0 < value < math.inf:
                raise ReproError(f"{name} is {value!r}; give a number above 0")
        if type(self.processes) is not int or self.processes < 1:
            raise ReproError(f"processes are {self.processes!r}; give how many make a step together, from 1 up")
        if self.nesterov and (self.optimizer != "sgd" or not self.momentum):
            raise ReproError(
                f"nesterov is {self.nesterov} with {self.optimizer} and a momentum of {self.momentum}; "
                "it needs sgd with momentum, or leave it out"
            )

    @property
    def loss_scale(self) -> float:
        """A power of two: multiplying and dividing by it changes no digit."""
        return 1024.0 if self.precision == "float16" else 1.0

    @property
    def slots(self) -> tuple[str, ...]:
        """The names of what the optimizer keeps of each trained weight."""
        if self.optimizer in ("adam", "adamw"):
            return ("moment1", "moment2")
        return ("square",) * self.optimizer.startswith("rmsprop") + ("velocity",) * bool(self.momentum)

    def before(self, slot: str) -> float:
        """What a slot holds before the first step."""
        return 1.0 if (slot, self.optimizer) == ("square", "rmsprop_tf") else 0.0

    def decay(self, shape: Sequence[int]) -> float:
        """The weight decay of a weight of that shape."""
        return 0.0 if self.spare_bias_and_norm and len(shape) == 1 else float(self.weight_decay)

    @property
    def counts(self) -> bool:
        """Whether a step depends on its number."""
        return self.optimizer in ("adam", "adamw") or (self.ema_decay is not None and self.ema_warmup)

    def average_share(self, steps: int) -> float:
        """Of a weight in its average, at the step after so many."""
        assert self.ema_decay is not None
        return 1 - (min(self.ema_decay, (steps + 1) / (steps + 10)) if self.ema_warmup else self.ema_decay)

    def trained(self, spec: Spec) -> dict[str, tuple[int, ...]]:
        """The shapes of the weights that are trained, in the order of the spec. Raises ReproError if none is."""
        found = {
            name: weight.shape
            for name, weight in spec.weights.items()
            if weight.kind not in STATISTICS and name.startswith(self.train_only)
        }
        if not found:
            raise ReproError(
                f"no weight of {spec.name} begins with {self.train_only!r}: train_only leaves nothing to train; "
                f"give the beginning of a name, such as {spec.classifier.rpartition('.')[0]}"
            )
        return found

    def full_state(self, arrays: Mapping[str, np.ndarray], spec: Spec) -> Arrays:
        """What Trainer.load_state was given, completed where it was nothing at all by what the optimizer begins with.

        Raises ReproError unless it is what Trainer.state() yields under these settings: an array that was lost would
        change the run without a word.
        """
        trained = self.trained(spec)
        shapes = {f"{slot}/{name}": shape for slot in self.slots for name, shape in trained.items()}
        shapes |= {"steps": ()} if self.counts else {}
        if not arrays:
            return {key: np.full(shape, self.before(key.split("/")[0]), np.float32) for key, shape in shapes.items()}
        shapes |= {f"ema/{name}": shape for name, shape in trained.items()} if self.ema_decay is not None else {}
        for name in sorted(shapes.keys() | arrays.keys()):
            if name not in arrays or name not in shapes or arrays[name].shape != shapes[name]:
                fault = "missing" if name not in arrays else "of another shape" if name in shapes else "unexpected"
                raise ReproError(
                    f"the training state does not fit {self.optimizer} on {spec.name}: {name} is {fault}; "
                    "go on with the settings that it was written under"
                )
        return dict(arrays)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


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


def again(name: str, arrays: Mapping[str, object]) -> str:
    """The name, or "name (2)" and so on where `arrays` has it already."""
    number, found = 1, name
    while found in arrays:
        number += 1
        found = f"{name} ({number})"
    return found


def first(value: Any) -> Any:
    """What a module puts out or is given: the first where there are several."""
    return value[0] if isinstance(value, (tuple, list)) and value else value


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
