"""The update of the weights: the optimizers of repro.interface.TrainSettings.

MindSpore's own operator follows PyTorch's formula for plain momentum only. The other optimizers, and all in eager mode,
treat all weights as one vector, since operations for each weight take long to compile, and to call in eager mode.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import mindspore
import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, mint, nn, ops
from mindspore.ops.functional import partial

from backends.mindspore.processes import AllReduceMean
from repro.interface import TrainSettings

ROW = 4096  # elements that deterministic_sum adds one after the other


def create_optimizer(weights: FlatWeights, settings: TrainSettings) -> Optimizer:
    """Return the optimizer of these weights by the settings."""
    optimizers = {"adam": Adam, "adamw": Adam, "rmsprop": RMSProp, "rmsprop_tf": RMSProp}
    sgd = Momentum if weights.is_compiled and settings.momentum and not settings.nesterov else SGD
    return optimizers.get(settings.optimizer, sgd)(weights, settings)


def updates_each_weight(settings: TrainSettings, *, compiled: bool) -> bool:
    """Return whether a step updates each weight by its own gradient, so that the gradients need not be one vector.

    With as many weights as ResNet-50 has, joining and splitting them takes a twentieth of a step.
    """
    is_plain_momentum = settings.optimizer == "sgd" and settings.momentum and not settings.nesterov
    is_alone = settings.world_size == 1 and not settings.computes_gradients_first
    return bool(compiled and is_plain_momentum and is_alone and settings.clip_norm is None)


class FlatWeights(nn.Cell):
    """Arrays as one flat vector, and such a vector back into the parameters."""

    def __init__(self, parameters: Iterable[Parameter], *, compiled: bool):
        super().__init__(auto_prefix=False)
        self.parameters = ParameterTuple(parameters)
        self.sizes = tuple(parameter.size for parameter in self.parameters)
        # eager mode would compile HyperMap each time; for the compiler, a Python loop over all weights nests too deeply
        self.map = ops.HyperMap() if compiled else map_eagerly
        self.is_compiled = compiled

    def construct(self, arrays: tuple[Tensor, ...]) -> Tensor:
        return ops.cat(self.map(flatten, arrays))

    def read_after(self, *events: Any) -> Tensor:
        """Return the parameters as one vector, as they are after these values have been computed."""
        return ops.cat(self.map(flatten, ops.depend(self.parameters, events)))

    def write(self, vector: Tensor) -> tuple[Tensor, ...]:
        """Assign the pieces of a vector to the parameters."""
        if self.is_compiled:
            return self.map(assign, self.parameters, mint.split(vector, self.sizes))
        self.load(vector.asnumpy())  # in eager mode, each ops.assign waits for another thread
        return self.parameters

    def load(self, vector: np.ndarray) -> None:
        """Load the parameters from one vector."""
        for parameter, values in zip(self.parameters, np.split(vector, np.cumsum(self.sizes)[:-1]), strict=True):
            parameter.set_data(Tensor(values.reshape(parameter.shape)))


def map_eagerly(function: Callable[..., Tensor], *sequences: Iterable[Tensor]) -> tuple[Tensor, ...]:
    """Apply a function as ops.HyperMap does, without compiling it."""
    return tuple(map(function, *sequences))


def flatten(array: Tensor) -> Tensor:
    """Return an array with a single axis."""
    return ops.reshape(array, (-1,))


def assign(parameter: Parameter, values: Tensor) -> Tensor:
    """Assign a flat piece to a parameter of the same size."""
    return ops.assign(parameter, ops.reshape(values, parameter.shape))


def zeros(name: str, *shape: int) -> Parameter:
    """Return a parameter of zeros that is not trained."""
    return filled(name, 0.0, *shape)


def filled(name: str, value: float, *shape: int) -> Parameter:
    """Return a parameter filled with `value` that is not trained."""
    return Parameter(Tensor(np.full(shape, value, np.float32)), name=name, requires_grad=False)


class Optimizer(nn.Cell):
    """An optimizer of TrainSettings, which maps the flat gradients of a step to what its update depends on.

    Subclasses keep the slots in pieces or as vectors: create_slot, slot_vector and load_slot.
    """

    def __init__(self, weights: FlatWeights, settings: TrainSettings):
        super().__init__(auto_prefix=False)
        self.weights = weights
        self.slots = {slot: self.create_slot(slot, settings.initial_value(slot)) for slot in settings.slots}
        self.momentum = settings.momentum
        self.decays = tuple(settings.decay(parameter.shape) for parameter in weights.parameters)
        self.lr = zeros("lr")

    def prepare(self, lr: float, steps: int) -> None:
        """Set the scalars that the next step depends on. steps: the number of steps before it."""
        self.lr.set_data(Tensor(lr, mindspore.float32))


class Momentum(Optimizer):
    """SGD with momentum in a compiled step, by MindSpore's own operator, which reads and writes every element once."""

    operator = ops.ApplyMomentum()

    def create_slot(self, name: str, value: float) -> ParameterTuple:
        """Return a slot in pieces, one for each weight."""
        pieces = enumerate(self.weights.parameters)
        return ParameterTuple(filled(f"{name}.{number}", value, *weight.shape) for number, weight in pieces)

    def slot_vector(self, name: str) -> np.ndarray:
        """Return a copy of a slot, in the order of the flat weights."""
        return np.concatenate([piece.asnumpy().ravel() for piece in self.slots[name]])

    def load_slot(self, name: str, vector: np.ndarray) -> None:
        """Load a slot from what `slot_vector` returns."""
        for piece, values in zip(self.slots[name], np.split(vector, np.cumsum(self.weights.sizes)[:-1]), strict=True):
            piece.set_data(Tensor(values.reshape(piece.shape)))

    def construct(self, gradient: Tensor) -> tuple[Tensor, ...]:
        """Update the weights, and return what the update depends on."""
        return self.update_each(mint.split(gradient, self.weights.sizes))

    def update_each(self, gradients: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Update the weights by a gradient for each, and return what the update depends on."""
        update = partial(apply_momentum, self.operator, self.lr, self.momentum)
        return self.weights.map(update, self.weights.parameters, self.slots["velocity"], gradients, self.decays)


def apply_momentum(
    operator: ops.ApplyMomentum, lr: Tensor, momentum: float, weight: Parameter, velocity: Parameter, values: Tensor,
    decay: float,
) -> Tensor:  # fmt: skip
    """Update a weight and its velocity by the values of its gradient."""
    g = ops.reshape(values, weight.shape)
    if decay:
        g = g + decay * weight
    return operator(weight, velocity, lr, g, momentum)


class FlatOptimizer(Optimizer):
    """An optimizer of all weights as one vector. `updated` maps weights and gradients to the weights after a step."""

    def __init__(self, weights: FlatWeights, settings: TrainSettings):
        super().__init__(weights, settings)
        self.velocity = self.slots.get("velocity")
        self.eps = settings.eps
        self.has_decay = settings.weight_decay > 0
        self.weight_decay: float | np.ndarray = settings.weight_decay  # a vector where some weights have none
        if settings.spare_bias_and_norm:
            self.weight_decay = np.repeat(self.decays, weights.sizes)
        self.decay = Parameter(Tensor(self.weight_decay, mindspore.float32), name="decay", requires_grad=False)

    def create_slot(self, name: str, value: float) -> Parameter:
        """Return a slot as one vector."""
        return filled(name, value, sum(self.weights.sizes))

    def slot_vector(self, name: str) -> np.ndarray:
        """Return a copy of a slot, in the order of the flat weights."""
        return self.slots[name].asnumpy().copy()

    def load_slot(self, name: str, vector: np.ndarray) -> None:
        """Load a slot from what `slot_vector` returns."""
        self.slots[name].set_data(Tensor(vector))

    def add_decay(self, g: Tensor, weight: Tensor) -> Tensor:
        """Return the gradient plus the weight decay."""
        return g + self.decay * weight if self.has_decay else g

    def accumulate(self, g: Tensor) -> Tensor:
        """Return the updated velocity, or `g` itself without momentum."""
        return g if self.velocity is None else ops.assign(self.velocity, self.momentum * self.velocity + g)

    def construct(self, gradient: Tensor) -> tuple[Tensor, ...]:
        """Update the weights, and return what the update depends on."""
        return self.weights.write(self.updated(self.weights.read_after(gradient), gradient))


class SGD(FlatOptimizer):
    """SGD: plain momentum in eager mode, and Nesterov's, which MindSpore's operator does not compute on a CPU."""

    def __init__(self, weights: FlatWeights, settings: TrainSettings):
        super().__init__(weights, settings)
        self.nesterov = settings.nesterov

    def updated(self, weight: Tensor, g: Tensor) -> Tensor:
        """Return the flat weights after the step."""
        g = self.add_decay(g, weight)
        velocity = self.accumulate(g)
        return weight - self.lr * (g + self.momentum * velocity if self.nesterov else velocity)


class Adam(FlatOptimizer):
    """Adam and AdamW."""

    def __init__(self, weights: FlatWeights, settings: TrainSettings):
        super().__init__(weights, settings)
        self.betas = settings.betas
        self.one_minus_betas = (1 - self.betas[0], 1 - self.betas[1])  # the compiler would subtract in float32
        self.decoupled = settings.optimizer == "adamw"
        self.moment1, self.moment2 = self.slots["moment1"], self.slots["moment2"]
        self.correction = zeros("correction")  # sqrt(1 - betas[1]**t)
        self.shrinkage = zeros("shrinkage", *np.shape(self.weight_decay))  # 1 - lr * weight_decay

    def prepare(self, lr: float, steps: int) -> None:
        """Set the scalars of the next step, in float64, because 1 - 0.999**t has few digits in float32."""
        beta1, beta2 = self.betas
        self.lr.set_data(Tensor(lr / (1 - beta1 ** (steps + 1)), mindspore.float32))
        self.correction.set_data(Tensor((1 - beta2 ** (steps + 1)) ** 0.5, mindspore.float32))
        self.shrinkage.set_data(Tensor(1 - lr * self.weight_decay, mindspore.float32))

    def updated(self, weight: Tensor, g: Tensor) -> Tensor:
        """Return the flat weights after the step."""
        (beta1, beta2), (one_minus_beta1, one_minus_beta2) = self.betas, self.one_minus_betas
        if not self.decoupled:
            g = self.add_decay(g, weight)
        moment1 = ops.assign(self.moment1, beta1 * self.moment1 + one_minus_beta1 * g)
        moment2 = ops.assign(self.moment2, beta2 * self.moment2 + one_minus_beta2 * g * g)
        change = self.lr * moment1 / (ops.sqrt(moment2) / self.correction + self.eps)
        return (self.shrinkage * weight if self.decoupled else weight) - change


class RMSProp(FlatOptimizer):
    """PyTorch's RMSProp, and TensorFlow's."""

    def __init__(self, weights: FlatWeights, settings: TrainSettings):
        super().__init__(weights, settings)
        self.tensorflow = settings.optimizer == "rmsprop_tf"
        self.square = self.slots["square"]
        self.alpha, self.one_minus_alpha = settings.alpha, 1 - settings.alpha

    def updated(self, weight: Tensor, g: Tensor) -> Tensor:
        """Return the flat weights after the step."""
        g = self.add_decay(g, weight)
        square = ops.assign(self.square, self.alpha * self.square + self.one_minus_alpha * g * g)
        if self.tensorflow:
            return weight - self.accumulate(self.lr * g / ops.sqrt(square + self.eps))
        return weight - self.lr * self.accumulate(g / (ops.sqrt(square) + self.eps))


class Update(nn.Cell):
    """All-reduce (unless this was done before), clipping, optimizer and EMA, on all weights as one vector.

    in_pieces: whether the gradients come as one array for each weight, see updates_each_weight.
    """

    def __init__(
        self, optimizer: Optimizer, settings: TrainSettings, ema: Parameter | None, *, in_pieces: bool = False
    ):
        super().__init__(auto_prefix=False)
        self.optimizer, self.ema, self.in_pieces = optimizer, ema, in_pieces
        self.settings, self.ema_weight = settings, zeros("ema_weight")
        self.clip_norm = settings.clip_norm
        is_reduced = settings.computes_gradients_first or settings.world_size == 1
        self.all_reduce_mean = None if is_reduced else AllReduceMean(settings.world_size)

    def prepare(self, lr: float, steps: int) -> None:
        """Set the scalars that the next step depends on. steps: the number of steps before it."""
        self.optimizer.prepare(lr, steps)
        if self.ema is not None:
            self.ema_weight.set_data(Tensor(self.settings.ema_weight(steps), mindspore.float32))

    def construct(self, loss: Tensor, gradient: Tensor) -> Tensor:
        """Return the loss, with the writing of the weights as its dependency.

        The writing depends on the whole gradient, so that no weight changes before all layers have read theirs.
        """
        if self.all_reduce_mean is not None:
            means = self.all_reduce_mean(ops.cat((gradient, loss.reshape(1))))
            gradient, loss = means[:-1], means[-1]
        if self.clip_norm is not None:  # ops.clip_by_global_norm lacks the 1e-6 of TrainSettings
            norm = ops.sqrt(deterministic_sum(gradient * gradient))
            gradient = gradient * ops.minimum(self.clip_norm / (norm + 1e-6), 1.0)
        updates = self.optimizer.update_each(gradient) if self.in_pieces else self.optimizer(gradient)
        if self.ema is not None:
            weight = self.optimizer.weights.read_after(updates)
            loss = ops.depend(loss, ops.assign(self.ema, self.ema + self.ema_weight * (weight - self.ema)))
        return ops.depend(loss, updates)


def deterministic_sum(vector: Tensor) -> Tensor:
    """Return the sum of a vector, bit-identical in every call.

    MindSpore tunes how it splits more than 200,000 elements among its threads, which changes the last bits of its sum.
    """
    in_rows = vector.shape[0] // ROW * ROW
    if not in_rows:
        return vector.sum()
    rows_sum = vector[:in_rows].reshape(-1, ROW).sum(1).sum()
    return rows_sum + vector[in_rows:].sum() if in_rows < vector.shape[0] else rows_sum  # an empty sum is not 0
