"""The optimizers of repro.interface.TrainSettings: PyTorch's own, and TensorFlow's RMSProp."""

from __future__ import annotations

import torch

from repro.interface import TrainSettings

# the slots of TrainSettings -> PyTorch's names of them
SLOTS = {"velocity": "momentum_buffer", "moment1": "exp_avg", "moment2": "exp_avg_sq", "square": "square_avg"}


def create_optimizer(parameters: list[torch.Tensor], settings: TrainSettings) -> torch.optim.Optimizer:
    """Return the optimizer of the settings, with a parameter group for each weight decay and a learning rate of 0."""
    s = settings
    decays = sorted({s.decay(parameter.shape) for parameter in parameters})
    groups = [
        {"params": [p for p in parameters if s.decay(p.shape) == decay], "weight_decay": decay} for decay in decays
    ]
    if s.optimizer == "adam":
        return torch.optim.Adam(groups, lr=0.0, betas=s.betas, eps=s.eps)
    if s.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=0.0, betas=s.betas, eps=s.eps)
    if s.optimizer == "rmsprop":
        return torch.optim.RMSprop(groups, lr=0.0, alpha=s.alpha, eps=s.eps, momentum=s.momentum)
    if s.optimizer == "rmsprop_tf":
        return RMSPropTF(groups, {"lr": 0.0, "alpha": s.alpha, "eps": s.eps, "momentum": s.momentum})
    return torch.optim.SGD(groups, lr=0.0, momentum=s.momentum, nesterov=s.nesterov)


class RMSPropTF(torch.optim.Optimizer):
    """TensorFlow's RMSProp: eps inside the square root, squares that start at 1, the learning rate in the velocity."""

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                square = state.setdefault(SLOTS["square"], torch.ones_like(parameter))
                gradient = parameter.grad + group["weight_decay"] * parameter
                square.mul_(group["alpha"]).addcmul_(gradient, gradient, value=1 - group["alpha"])
                change = group["lr"] * gradient / (square + group["eps"]).sqrt()
                if group["momentum"]:
                    velocity = state.setdefault(SLOTS["velocity"], torch.zeros_like(parameter))
                    change = velocity.mul_(group["momentum"]).add_(change)
                parameter.sub_(change)
