"""Dropout and drop path from a source of random numbers that every backend shares."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from backends.torch.layers import DropPath
from repro.interface.contract import DropoutSource
from repro.interface.dropout_source import SELU_LIMIT, alpha_dropout_map

CHANNEL_DROPOUTS = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.FeatureAlphaDropout)  # drop whole channels
ALPHA_DROPOUTS = (nn.AlphaDropout, nn.FeatureAlphaDropout)
# a user's subclass with a forward pass of its own is left as it is
SHARED_FORWARDS = {layer.forward for layer in (nn.Dropout, DropPath, *CHANNEL_DROPOUTS, *ALPHA_DROPOUTS)}


def draws_from_source(module: Any) -> bool:
    """Return whether set_dropout_source makes the module draw from the source."""
    return type(module).forward in SHARED_FORWARDS


def set_dropout_source(model: Any, source: DropoutSource) -> None:
    """Let dropout and drop-path layers, in training, drop where source(name, shape) is below their rate."""
    names = {module: name for name, module in model.named_modules()}
    model.draw_dropout = source  # an attribute, so that the trainer can keep torch.compile from tracing it

    def drop(layer: Any, inputs: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
        (x,) = inputs
        rate = layer.rate if isinstance(layer, DropPath) else layer.p
        if not layer.training or not rate:
            return output
        is_kept = torch.as_tensor(model.draw_dropout(names[layer], _mask_shape(layer, x)) >= rate)
        if isinstance(layer, ALPHA_DROPOUTS):
            scale, shift = alpha_dropout_map(rate)
            return torch.where(is_kept, x, SELU_LIMIT) * scale + shift
        return x * is_kept / ((1 - rate) or 1)

    for module in names:
        if draws_from_source(module):
            if not isinstance(module, DropPath):
                module.inplace = False  # the hook needs the layer's input
            module.register_forward_hook(drop)


def _mask_shape(layer: Any, x: torch.Tensor) -> tuple[int, ...]:
    """The shape of the numbers that decide what a layer drops of its input (N, C, ...)."""
    if isinstance(layer, DropPath):
        return (x.shape[0], 1, 1, 1)
    if not isinstance(layer, CHANNEL_DROPOUTS):
        return tuple(x.shape)
    is_single = (isinstance(layer, nn.Dropout1d) and x.ndim == 2) or (isinstance(layer, nn.Dropout3d) and x.ndim == 4)
    axes = 1 if is_single else 2  # a single image (C, ...) has no axis N
    return (*x.shape[:axes], *[1] * (x.ndim - axes))
