"""The settings of a training step, with the formulas that every backend follows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from repro.errors import ReproError, unknown
from repro.specs import STATISTICS, Spec

if TYPE_CHECKING:
    import numpy as np

    from repro.arrays import Arrays

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
        import numpy as np  # not at the top: recipes are checked without it

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
