"""The optimizers of repro.interface.TrainSettings: MindSpore's own where it does what PyTorch's does, which is momentum
alone, and the others in its operations. All are compiled into the graph of the step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import mindspore
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from repro.interface import TrainSettings


def create_optimizer(parameters: list[Parameter], settings: TrainSettings) -> nn.Cell:
    """A cell of the gradients, with `parameters`, `slots` (slot -> an array for each) and `prepare`."""
    optimizers = {"adam": Adam, "adamw": Adam, "rmsprop": RMSProp}
    sgd = Nesterov if settings.nesterov else Momentum
    return optimizers.get(settings.optimizer, sgd)(parameters, settings)


class Momentum(nn.Momentum):
    def __init__(self, parameters: list[Parameter], settings: TrainSettings):
        # without a group of their own, MindSpore spares gamma and beta the decay
        groups = [{"params": parameters, "weight_decay": settings.weight_decay}]
        super().__init__(groups, learning_rate=0.1, momentum=float(settings.momentum))
        self.slots = dict.fromkeys(settings.slots, self.moments)

    def prepare(self, lr: float, steps: int) -> None:
        """Sets what the next step depends on beside arrays. steps: how many were made before it."""
        ops.assign(self.learning_rate, Tensor(lr, mindspore.float32))  # the eager mode would not see set_data


class Optimizer(nn.Cell):
    """One of PyTorch's. `update` gets the learning rate, a weight, its gradient and its array of each slot."""

    def __init__(self, parameters: list[Parameter], settings: TrainSettings):
        super().__init__(auto_prefix=False)
        self.parameters = ParameterTuple(parameters)
        self.slots = {slot: self.parameters.clone(prefix=slot, init="zeros") for slot in settings.slots}
        self.arrays = tuple(self.slots.values())
        self.weight_decay, self.momentum, self.eps = settings.weight_decay, settings.momentum, settings.eps
        self.lr = scalar("lr")
        self.write = ops.assign if settings.compiled else copied
        self.map = ops.HyperMap() if settings.compiled else mapped

    def prepare(self, lr: float, steps: int) -> None:
        self.lr.set_data(Tensor(lr, mindspore.float32))

    def construct(self, gradients):
        # the compiler may write a weight before a layer has read it, unless the new value hangs on all gradients
        lr = ops.depend(self.lr, gradients)
        return self.map(ops.partial(self.update, lr), self.parameters, gradients, *self.arrays)

    def decayed(self, g, weight):
        return g + self.weight_decay * weight if self.weight_decay > 0 else g


def mapped(function: Callable[..., Tensor], *sequences: Iterable[Tensor]) -> tuple[Tensor, ...]:
    """ops.HyperMap, which compiles even in the eager mode; to the compiler, a loop of so many steps is too deep."""
    return tuple(map(function, *sequences))


def copied(parameter: Parameter, value: Tensor) -> Tensor:
    """ops.assign, many times as quick in the eager mode, and unknown to the compiler."""
    parameter.copy_(value)
    return value


def scalar(name: str) -> Parameter:
    return Parameter(Tensor(0.0, mindspore.float32), name=name, requires_grad=False)


class Nesterov(Optimizer):
    """nn.Momentum(use_nesterov=True) is plain momentum on the CPU."""

    def update(self, lr, weight, g, velocity):
        g = self.decayed(g, weight)
        velocity = self.write(velocity, self.momentum * velocity + g)
        return self.write(weight, weight - lr * (g + self.momentum * velocity))


class Adam(Optimizer):
    """nn.Adam is a thousandth off, and nn.AdamWeightDecay corrects no bias."""

    def __init__(self, parameters: list[Parameter], settings: TrainSettings):
        super().__init__(parameters, settings)
        self.betas = settings.betas
        self.shares = (1 - self.betas[0], 1 - self.betas[1])  # the compiler would subtract in single precision
        self.decoupled = settings.optimizer == "adamw"
        self.root, self.kept = scalar("root"), scalar("kept")

    def prepare(self, lr: float, steps: int) -> None:
        """In double precision, because 1 - 0.999**t has few digits in single precision."""
        beta1, beta2 = self.betas
        self.lr.set_data(Tensor(lr / (1 - beta1 ** (steps + 1)), mindspore.float32))
        self.root.set_data(Tensor((1 - beta2 ** (steps + 1)) ** 0.5, mindspore.float32))
        self.kept.set_data(Tensor(1 - lr * self.weight_decay, mindspore.float32))

    def update(self, lr, weight, g, moment1, moment2):
        (beta1, beta2), (share1, share2) = self.betas, self.shares
        if not self.decoupled:
            g = self.decayed(g, weight)
        moment1 = self.write(moment1, beta1 * moment1 + share1 * g)
        moment2 = self.write(moment2, beta2 * moment2 + share2 * g * g)
        change = lr * moment1 / (ops.sqrt(moment2) / self.root + self.eps)
        return self.write(weight, (self.kept * weight if self.decoupled else weight) - change)


class RMSProp(Optimizer):
    """nn.RMSProp has eps inside the square root, and starts with squares of one."""

    def __init__(self, parameters: list[Parameter], settings: TrainSettings):
        super().__init__(parameters, settings)
        self.alpha, self.share = settings.alpha, 1 - settings.alpha

    def update(self, lr, weight, g, square, *velocity):
        g = self.decayed(g, weight)
        square = self.write(square, self.alpha * square + self.share * g * g)
        g = g / (ops.sqrt(square) + self.eps)
        if velocity:
            g = self.write(velocity[0], self.momentum * velocity[0] + g)
        return self.write(weight, weight - lr * g)
