"""The optimizers of repro.interface.TrainSettings: Paddle's own where they follow its formulas, and RMSProp."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import paddle

from repro.interface import TrainSettings


def slot_key(parameter: paddle.Tensor, optimizer: str, slot: str) -> str:
    """Return the name of an array in the state_dict() of an optimizer that has a name."""
    return f"{parameter.name}_{optimizer}_{slot}_0"


def create_optimizer(parameters: list[paddle.Tensor], settings: TrainSettings, name: str) -> Any:
    """Return the optimizer of the settings, with a learning rate of 0.

    name: a unique one; otherwise Paddle would number the arrays of a second optimizer of the same parameters.
    """
    s = settings
    common = {"learning_rate": 0.0, "parameters": parameters, "name": name}
    moments = {"beta1": s.betas[0], "beta2": s.betas[1], "epsilon": s.eps}
    decay = paddle.regularizer.L2Decay(s.weight_decay) if s.weight_decay else None
    decayed = {parameter.name for parameter in parameters if s.decay(parameter.shape)}
    for parameter in parameters:  # a parameter's regularizer takes precedence over the optimizer's
        parameter.regularizer = None if parameter.name in decayed else paddle.regularizer.L2Decay(0.0)
    if s.optimizer == "adam":
        return paddle.optimizer.Adam(**moments, weight_decay=decay, **common)
    if s.optimizer == "adamw":
        decoupled = {"weight_decay": float(s.weight_decay), "apply_decay_param_fun": decayed.__contains__}
        return paddle.optimizer.AdamW(**moments, **decoupled, **common)
    if s.optimizer.startswith("rmsprop"):
        return RMSProp(parameters, settings, name)
    return paddle.optimizer.Momentum(momentum=s.momentum, use_nesterov=s.nesterov, weight_decay=decay, **common)


class RMSProp:
    """PyTorch's and TensorFlow's RMSProp, with the methods of Paddle's optimizers.

    Paddle's own has eps inside the square root, and squares that start at 0.
    """

    def __init__(self, parameters: list[paddle.Tensor], settings: TrainSettings, name: str):
        self.parameters, self.settings, self.name, self.lr = parameters, settings, name, 0.0
        self.arrays = {
            slot_key(p, name, slot): paddle.full_like(p, settings.initial_value(slot))
            for p in parameters
            for slot in settings.slots
        }

    def set_lr(self, value: float) -> None:
        """Set the learning rate."""
        self.lr = value

    @paddle.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient."""
        s = self.settings
        for parameter in self.parameters:
            gradient = parameter.grad
            if gradient is None:  # the loss does not depend on it
                continue
            if decay := s.decay(parameter.shape):
                gradient = gradient + decay * parameter
            square = self.arrays[slot_key(parameter, self.name, "square")]
            square.scale_(s.alpha).add_((1 - s.alpha) * gradient * gradient)
            tensorflow = s.optimizer == "rmsprop_tf"
            change = self.lr * gradient / (square + s.eps).sqrt() if tensorflow else gradient / (square.sqrt() + s.eps)
            if s.momentum:
                change = self.arrays[slot_key(parameter, self.name, "velocity")].scale_(s.momentum).add_(change)
            parameter.subtract_(change if tensorflow else self.lr * change)

    def clear_grad(self, set_to_zero: bool = True) -> None:
        """Clear the gradients, or set them to zero."""
        for parameter in self.parameters:
            parameter.clear_gradient(set_to_zero)

    def state_dict(self) -> dict[str, paddle.Tensor]:
        """Return the slots under the names of `slot_key`."""
        return dict(self.arrays)

    def set_state_dict(self, arrays: Mapping[str, paddle.Tensor]) -> None:
        """Load the slots of `state_dict`."""
        self.arrays = dict(arrays)
