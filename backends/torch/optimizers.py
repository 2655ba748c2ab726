"""The optimizers of repro.interface.TrainSettings, which are PyTorch's own."""

from __future__ import annotations

import torch

from repro.interface import TrainSettings

SLOTS = {"velocity": "momentum_buffer", "moment1": "exp_avg", "moment2": "exp_avg_sq", "square": "square_avg"}


def create_optimizer(parameters: list[torch.Tensor], settings: TrainSettings) -> torch.optim.Optimizer:
    s, decay = settings, settings.weight_decay
    if s.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=0.0, betas=s.betas, eps=s.eps, weight_decay=decay)
    if s.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=0.0, betas=s.betas, eps=s.eps, weight_decay=decay)
    if s.optimizer == "rmsprop":
        return torch.optim.RMSprop(
            parameters, lr=0.0, alpha=s.alpha, eps=s.eps, momentum=s.momentum, weight_decay=decay
        )
    return torch.optim.SGD(parameters, lr=0.0, momentum=s.momentum, nesterov=s.nesterov, weight_decay=decay)
