"""The optimizers of repro.interface.TrainSettings: Paddle's own where they do what is said there, and RMSProp."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import paddle

from repro.interface import TrainSettings


def key(parameter: paddle.Tensor, optimizer: str, slot: str) -> str:
    """What an array is called in the state_dict() of an optimizer that was given a name."""
    return f"{parameter.name}_{optimizer}_{slot}_0"


def create_optimizer(parameters: list[paddle.Tensor], settings: TrainSettings, name: str) -> Any:
    """name: its own, or the arrays of a second optimizer of the same parameters would be numbered differently."""
    s = settings
    common = {"learning_rate": 0.0, "parameters": parameters, "name": name}
    moments = {"beta1": s.betas[0], "beta2": s.betas[1], "epsilon": s.eps}
    decay = paddle.regularizer.L2Decay(s.weight_decay) if s.weight_decay else None
    decayed = {parameter.name for parameter in parameters if s.decay(parameter.shape)}
    for parameter in parameters:  # its own one goes before the optimizer's
        parameter.regularizer = None if parameter.name in decayed else paddle.regularizer.L2Decay(0.0)
    if s.optimizer == "adam":
        return paddle.optimizer.Adam(**moments, weight_decay=decay, **common)
    if s.optimizer == "adamw":
        decay = {"weight_decay": float(s.weight_decay), "apply_decay_param_fun": decayed.__contains__}
        return paddle.optimizer.AdamW(**moments, **decay, **common)
    if s.optimizer.startswith("rmsprop"):
        return RMSProp(parameters, settings, name)
    return paddle.optimizer.Momentum(momentum=s.momentum, use_nesterov=s.nesterov, weight_decay=decay, **common)


class RMSProp:
    """PyTorch's and TensorFlow's; Paddle's has eps inside the square root, and zeros to begin with. The methods are
    those of Paddle's optimizers."""

    def __init__(self, parameters: list[paddle.Tensor], settings: TrainSettings, name: str):
        self.parameters, self.settings, self.name, self.lr = parameters, settings, name, 0.0
        self.arrays = {
            key(p, name, slot): paddle.full_like(p, settings.initial_value(slot))
            for p in parameters
            for slot in settings.slots
        }

    def set_lr(self, value: float) -> None:
        self.lr = value

    @paddle.no_grad()
    def step(self) -> None:
        s = self.settings
        for parameter in self.parameters:
            gradient = parameter.grad
            if gradient is None:  # nothing that ran depends on it
                continue
            if decay := s.decay(parameter.shape):
                gradient = gradient + decay * parameter
            square = self.arrays[key(parameter, self.name, "square")]
            square.scale_(s.alpha).add_((1 - s.alpha) * gradient * gradient)
            tensorflow = s.optimizer == "rmsprop_tf"
            change = self.lr * gradient / (square + s.eps).sqrt() if tensorflow else gradient / (square.sqrt() + s.eps)
            if s.momentum:
                change = self.arrays[key(parameter, self.name, "velocity")].scale_(s.momentum).add_(change)
            parameter.subtract_(change if tensorflow else self.lr * change)

    def clear_grad(self, set_to_zero: bool = True) -> None:
        for parameter in self.parameters:
            parameter.clear_gradient(set_to_zero)

    def state_dict(self) -> dict[str, paddle.Tensor]:
        return dict(self.arrays)

    def set_state_dict(self, arrays: Mapping[str, paddle.Tensor]) -> None:
        self.arrays = dict(arrays)
