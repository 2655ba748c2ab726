"""Dropout and drop path from a source of random numbers that every backend shares."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from backends.torch.layers import DropPath
from repro.interface.contract import DropoutSource


def set_dropout_source(model: Any, source: DropoutSource) -> None:
    """Let dropout and drop-path layers, in training, drop where source(name, shape) is below their rate."""
    names = {module: name for name, module in model.named_modules()}

    def drop(layer: Any, inputs: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
        (x,) = inputs
        is_drop_path = isinstance(layer, DropPath)
        rate = layer.rate if is_drop_path else layer.p
        if not layer.training or not rate:
            return output
        numbers = source(names[layer], (x.shape[0], 1, 1, 1) if is_drop_path else tuple(x.shape))
        return x * torch.as_tensor(numbers >= rate) / (1 - rate)

    for module in names:
        if isinstance(module, nn.Dropout):
            module.inplace = False  # the hook needs the input
        if isinstance(module, (nn.Dropout, DropPath)):
            module.register_forward_hook(drop)
