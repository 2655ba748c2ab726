"""The settings of a training step, with the formulas that every backend follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from repro.choices import OPTIMIZERS, PRECISIONS, RANGES, check_range
from repro.errors import ReproError, unknown
from repro.specs import STATISTICS, Spec

if TYPE_CHECKING:
    import numpy as np

    from repro.arrays import Arrays


@dataclass(frozen=True)
class TrainSettings:
    """The settings of a training step. The learning rate is not among them: the core gives it with every step.

    With g the gradient, w a trained weight (normalisation and biases included) and t the step counted from 1, as in
    torch.optim; rmsprop_tf is as in TensorFlow, in which the EfficientNets were trained:

    clip_norm   first of all, g *= min(1, clip_norm / (norm + 1e-6)), where norm is the global L2 norm of all gradients
    sgd         g += weight_decay * w;  velocity = momentum * velocity + g
                w -= lr * velocity;  nesterov: w -= lr * (g + momentum * velocity)
    adam        g += weight_decay * w
                moment1 = betas[0] * moment1 + (1 - betas[0]) * g;  moment2 = betas[1] * moment2 + (1 - betas[1]) * g**2
                w -= lr * moment1 / (1 - betas[0]**t) / (sqrt(moment2 / (1 - betas[1]**t)) + eps)
    adamw       w -= lr * weight_decay * w, then adam without weight decay
    rmsprop     g += weight_decay * w;  square = alpha * square + (1 - alpha) * g**2
                velocity = momentum * velocity + g / (sqrt(square) + eps);  w -= lr * velocity
    rmsprop_tf  g and square as above, with square = 1 before the first step
                velocity = momentum * velocity + lr * g / sqrt(square + eps);  w -= velocity
    ema_decay   last of all, ema = ema_decay * ema + (1 - ema_decay) * w; running statistics are copied
    ema_warmup  uses min(ema_decay, t / (9 + t)) instead of ema_decay, so that an early EMA forgets the initial weights

    spare_bias_and_norm: weights with one axis (biases, normalisation, layer scales) get no weight decay.
    train_only: only weights whose canonical names start with this prefix are trained. The others are frozen: no
    gradients are computed for them, and a batch normalisation without trained weights normalises with its running
    statistics, as in evaluation mode, and keeps them. Dropout and drop path are active everywhere.
    label_smoothing: targets become (1 - label_smoothing) * target + label_smoothing / classes.
    precision: the type of convolutions and matrix products, in training and in Trainer.predict, by the framework's own
    mixed precision. Loss, weights and updates stay float32. In float16 the loss is multiplied by a scale before
    backpropagation and the gradients are divided by it, since small gradients would underflow. The scale adapts by the
    rule of torch.amp.GradScaler: it starts at 65536, halves when any gradient of any rank is inf or NaN, and doubles
    after 2000 consecutive steps without one. A step with such a gradient is skipped: weights, slots, EMA and t stay as
    they are. Running statistics do not, since the forward pass updates them.
    world_size: the number of processes that make every step together, each on its slice of the global batch (see
    Backend.init_distributed). Gradients and running statistics are averaged over all ranks before anything else. Batch
    normalisation sees the local slice only, unless sync_norm is set.
    sync_norm: in training, batch normalisation takes mean and variance over the slices of all ranks, so that several
    processes train like one, up to rounding; with accumulate, over the parts of the same number of all ranks. It
    changes nothing with one process, for frozen normalisations and in evaluation mode.
    accumulate: the number of parts in which a rank computes its slice, one after the other. Each part is normalised by
    itself, unless sync_norm is set, and starts from the running statistics before the step. Gradients and running
    statistics are averaged over all parts of all ranks, so that 2 parts in 2 processes are 4 parts.
    deterministic_shards: the number of parts of the global batch, each of which one rank computes. Their gradients are
    added in an order that is the same for any world size (repro.interface.parts.tree_sum), so that the weights are
    bit-identical, too. A power of two, and so is the world size.

    Raises ReproError for a value out of range and for settings that exclude each other.
    """

    momentum: float = 0.9  # for sgd, rmsprop and rmsprop_tf
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
    world_size: int = 1
    sync_norm: bool = False
    accumulate: int = 1
    deterministic_shards: int | None = None
    fused_evaluation: bool | None = None  # Trainer.predict by fewer, larger operators; None: where it pays off
    compiled: bool | None = None  # run the network as a compiled graph; None: MindSpore does, with equal results

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise unknown("optimizer", self.optimizer, OPTIMIZERS)
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)
        if not isinstance(self.betas, tuple) or len(self.betas) != 2:
            raise ReproError(f"betas must be two numbers, such as (0.9, 0.999), not {self.betas!r}")
        for index, beta in enumerate(self.betas):
            check_range(f"betas[{index}]", beta, RANGES["betas"])
        for name in ("momentum", "alpha", "eps", "weight_decay", "label_smoothing"):
            check_range(name, getattr(self, name))
        for name in ("clip_norm", "ema_decay"):
            if getattr(self, name) is not None:
                check_range(name, getattr(self, name))
        if type(self.world_size) is not int or self.world_size < 1:
            raise ReproError(f"world_size is {self.world_size!r}; give the number of processes, at least 1")
        check_range("accumulate", self.accumulate)
        if self.deterministic_shards is not None:
            self._check_shards(self.deterministic_shards)
        if self.nesterov and (self.optimizer != "sgd" or not self.momentum):
            raise ReproError(
                f"nesterov is set with optimizer {self.optimizer} and momentum {self.momentum}; "
                "it needs sgd with momentum, so leave it out"
            )

    def _check_shards(self, shards: int) -> None:
        check_range("deterministic_shards", shards)
        if shards.bit_count() > 1:
            raise ReproError(
                f"deterministic_shards is {shards}; give a power of two, such as {1 << shards.bit_length()}"
            )
        if shards % self.world_size:
            raise ReproError(
                f"{shards} deterministic shards cannot be shared evenly by {self.world_size} processes; start "
                f"{' or '.join(str(1 << n) for n in range(shards.bit_length()))} processes"
            )
        if self.accumulate > 1:
            raise ReproError(
                f"accumulate is {self.accumulate}, but deterministic_shards is {shards}, which already decides the "
                "parts of a batch; leave accumulate out"
            )
        if self.sync_norm:
            raise ReproError(
                f"sync_norm is set, but deterministic_shards is {shards}, where batch normalisation sees one shard "
                "only, so that any number of processes computes the same bits; leave one of the two out"
            )

    @property
    def parts(self) -> int:
        """The number of parts in which a rank computes its slice of the batch."""
        shards = self.deterministic_shards
        return self.accumulate if shards is None else shards // self.world_size

    @property
    def in_parts(self) -> bool:
        """True if gradients of parts are added, or those of ranks in a certain order."""
        return self.parts > 1 or self.deterministic_shards is not None

    @property
    def synchronises_norms(self) -> bool:
        """True if batch normalisation in training needs the other ranks."""
        return self.sync_norm and self.world_size > 1

    @property
    def scales_loss(self) -> bool:
        """True if the loss is multiplied by repro.interface.loss_scale.LossScale before backpropagation."""
        return self.precision == "float16"

    @property
    def computes_gradients_first(self) -> bool:
        """True if an update depends on more than one backward pass, so that a step cannot be compiled as one graph."""
        return self.in_parts or self.scales_loss

    @property
    def slots(self) -> tuple[str, ...]:
        """The names of the arrays that the optimizer keeps for each trained weight, such as velocity."""
        if self.optimizer in ("adam", "adamw"):
            return ("moment1", "moment2")
        return ("square",) * self.optimizer.startswith("rmsprop") + ("velocity",) * bool(self.momentum)

    def initial_value(self, slot: str) -> float:
        """The value of every element of a slot before the first step."""
        return 1.0 if (slot, self.optimizer) == ("square", "rmsprop_tf") else 0.0

    def decay(self, shape: Sequence[int]) -> float:
        """The weight decay of a weight with this shape."""
        return 0.0 if self.spare_bias_and_norm and len(shape) == 1 else float(self.weight_decay)

    @property
    def counts_steps(self) -> bool:
        """Return whether an update depends on the number of the step, which is then part of the state."""
        return self.optimizer in ("adam", "adamw") or (self.ema_decay is not None and self.ema_warmup)

    def ema_weight(self, steps: int) -> float:
        """Weight of the new value (1 - decay) in the EMA after `steps` steps."""
        assert self.ema_decay is not None
        return 1 - (min(self.ema_decay, (steps + 1) / (steps + 10)) if self.ema_warmup else self.ema_decay)

    def trained_shapes(self, spec: Spec) -> dict[str, tuple[int, ...]]:
        """The shapes of the trained weights by canonical name, in the order of the spec.

        Raises ReproError where train_only leaves nothing to train.
        """
        shapes = {
            name: weight.shape
            for name, weight in spec.weights.items()
            if weight.kind not in STATISTICS and name.startswith(self.train_only)
        }
        if not shapes:
            raise ReproError(
                f"train_only is {self.train_only!r}, but no weight of {spec.name} starts with it; "
                f"give the start of a name, such as {spec.classifier.rpartition('.')[0]}"
            )
        return shapes

    def frozen_norms(self, spec: Spec) -> set[str]:
        """The names of the batch normalisations that train_only freezes: those without trained weights."""
        if not self.train_only:
            return set()
        norms = {name.rpartition(".")[0] for name, weight in spec.weights.items() if weight.kind == "norm_mean"}
        return norms - {name.rpartition(".")[0] for name in self.trained_shapes(spec)}

    def complete_state(self, arrays: Mapping[str, np.ndarray], spec: Spec) -> Arrays:
        """The optimizer state to load: `arrays` itself, or the initial state where `arrays` is empty.

        Raises ReproError unless the arrays are those of Trainer.state() under these settings: a lost array would
        silently change the run.
        """
        import numpy as np  # imported late, so that recipes are checked without it

        from repro.interface.loss_scale import LossScale

        trained = self.trained_shapes(spec)
        shapes = {f"{slot}/{name}": shape for slot in self.slots for name, shape in trained.items()}
        shapes |= {"steps": ()} if self.counts_steps else {}
        loss_scale = LossScale().state() if self.scales_loss else {}
        if not arrays:
            return loss_scale | {
                key: np.full(shape, self.initial_value(key.split("/")[0]), np.float32) for key, shape in shapes.items()
            }
        shapes |= {name: array.shape for name, array in loss_scale.items()}
        shapes |= {f"ema/{name}": shape for name, shape in trained.items()} if self.ema_decay is not None else {}
        for name in sorted(shapes.keys() | arrays.keys()):
            if name not in arrays or name not in shapes or arrays[name].shape != shapes[name]:
                problem = "missing" if name not in arrays else "wrongly shaped" if name in shapes else "unexpected"
                raise ReproError(
                    f"the training state does not fit {self.optimizer} on {spec.name}: {name} is {problem}; "
                    "resume with the settings that it was written under"
                )
        return dict(arrays)
