"""The optimizers of repro.interface.TrainSettings, each in a few operations on all weights as one vector: MindSpore has
momentum alone as PyTorch has it, and operations for each weight take long to compile, and to call in the eager mode.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import mindspore
import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, mint, nn, ops

from repro.interface import TrainSettings


def create_optimizer(shapes: Sequence[tuple[int, ...]], settings: TrainSettings) -> Optimizer:
    """shapes: of the weights, in the order in which they follow each other in the vector."""
    optimizers = {"adam": Adam, "adamw": Adam, "rmsprop": RMSProp, "rmsprop_tf": RMSProp}
    return optimizers.get(settings.optimizer, SGD)(shapes, settings)


class Flat(nn.Cell):
    """Arrays as one vector, and back into parameters of their sizes."""

    def __init__(self, parameters: Iterable[Parameter], compiled: bool):
        super().__init__(auto_prefix=False)
        self.parameters = ParameterTuple(parameters)
        self.sizes = tuple(parameter.size for parameter in self.parameters)
        # the eager mode would compile HyperMap, and to the compiler a loop of so many steps is too deep
        self.map = ops.HyperMap() if compiled else mapped

    def construct(self, arrays: tuple[Tensor, ...]) -> Tensor:
        return ops.cat(self.map(flattened, arrays))

    def write(self, vector: Tensor) -> tuple[Tensor, ...]:
        return self.map(written, self.parameters, mint.split(vector, self.sizes))


def mapped(function: Callable[..., Tensor], *sequences: Iterable[Tensor]) -> tuple[Tensor, ...]:
    return tuple(map(function, *sequences))


def flattened(array: Tensor) -> Tensor:
    return ops.reshape(array, (-1,))


def written(parameter: Parameter, values: Tensor) -> Tensor:
    return ops.assign(parameter, ops.reshape(values, parameter.shape))


def zeros(name: str, *shape: int) -> Parameter:
    return filled(name, 0.0, *shape)


def filled(name: str, value: float, *shape: int) -> Parameter:
    return Parameter(Tensor(np.full(shape, value, np.float32)), name=name, requires_grad=False)


class Optimizer(nn.Cell):
    """One of TrainSettings, of a vector of weights and that of their gradients, to the weights after the step."""

    def __init__(self, shapes: Sequence[tuple[int, ...]], settings: TrainSettings):
        super().__init__(auto_prefix=False)
        sizes = [math.prod(shape) for shape in shapes]
        self.slots = {slot: filled(slot, settings.initial_value(slot), sum(sizes)) for slot in settings.slots}
        self.velocity = self.slots.get("velocity")
        self.momentum, self.eps = settings.momentum, settings.eps
        self.decays = settings.weight_decay > 0
        self.weight_decay: float | np.ndarray = settings.weight_decay  # a vector where some weights are spared
        if settings.spare_bias_and_norm:
            self.weight_decay = np.repeat([settings.decay(shape) for shape in shapes], sizes)
        self.decay = Parameter(Tensor(self.weight_decay, mindspore.float32), name="decay", requires_grad=False)
        self.lr = zeros("lr")

    def prepare(self, lr: float, steps: int) -> None:
        """See Update.prepare."""
        self.lr.set_data(Tensor(lr, mindspore.float32))

    def decayed(self, g: Tensor, weight: Tensor) -> Tensor:
        return g + self.decay * weight if self.decays else g

    def gathered(self, g: Tensor) -> Tensor:
        """The velocity, or without momentum what it would be."""
        return g if self.velocity is None else ops.assign(self.velocity, self.momentum * self.velocity + g)


class SGD(Optimizer):
    def __init__(self, shapes: Sequence[tuple[int, ...]], settings: TrainSettings):
        super().__init__(shapes, settings)
        self.nesterov = settings.nesterov

    def construct(self, weight: Tensor, g: Tensor) -> Tensor:
        g = self.decayed(g, weight)
        velocity = self.gathered(g)
        return weight - self.lr * (g + self.momentum * velocity if self.nesterov else velocity)


class Adam(Optimizer):
    def __init__(self, shapes: Sequence[tuple[int, ...]], settings: TrainSettings):
        super().__init__(shapes, settings)
        self.betas = settings.betas
        self.shares = (1 - self.betas[0], 1 - self.betas[1])  # the compiler would subtract in single precision
        self.decoupled = settings.optimizer == "adamw"
        self.moment1, self.moment2 = self.slots["moment1"], self.slots["moment2"]
        self.root, self.kept = zeros("root"), zeros("kept", *np.shape(self.weight_decay))

    def prepare(self, lr: float, steps: int) -> None:
        """In double precision, because 1 - 0.999**t has few digits in single precision."""
        beta1, beta2 = self.betas
        self.lr.set_data(Tensor(lr / (1 - beta1 ** (steps + 1)), mindspore.float32))
        self.root.set_data(Tensor((1 - beta2 ** (steps + 1)) ** 0.5, mindspore.float32))
        self.kept.set_data(Tensor(1 - lr * self.weight_decay, mindspore.float32))

    def construct(self, weight: Tensor, g: Tensor) -> Tensor:
        (beta1, beta2), (share1, share2) = self.betas, self.shares
        if not self.decoupled:
            g = self.decayed(g, weight)
        moment1 = ops.assign(self.moment1, beta1 * self.moment1 + share1 * g)
        moment2 = ops.assign(self.moment2, beta2 * self.moment2 + share2 * g * g)
        change = self.lr * moment1 / (ops.sqrt(moment2) / self.root + self.eps)
        return (self.kept * weight if self.decoupled else weight) - change


class RMSProp(Optimizer):
    def __init__(self, shapes: Sequence[tuple[int, ...]], settings: TrainSettings):
        super().__init__(shapes, settings)
        self.tensorflow = settings.optimizer == "rmsprop_tf"
        self.square = self.slots["square"]
        self.alpha, self.share = settings.alpha, 1 - settings.alpha

    def construct(self, weight: Tensor, g: Tensor) -> Tensor:
        g = self.decayed(g, weight)
        square = ops.assign(self.square, self.alpha * self.square + self.share * g * g)
        if self.tensorflow:
            return weight - self.gathered(self.lr * g / ops.sqrt(square + self.eps))
        return weight - self.lr * self.gathered(g / (ops.sqrt(square) + self.eps))
