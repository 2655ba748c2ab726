"""Dropout and drop path from a source of random numbers that every backend shares."""

from __future__ import annotations

from typing import Any

import paddle
from paddle import nn

from backends.paddle.layers import DropPath
from repro.interface.contract import DropoutSource
from repro.interface.dropout_source import SELU_LIMIT, alpha_dropout_map

CHANNEL_DROPOUTS = (nn.Dropout2D, nn.Dropout3D, nn.FeatureAlphaDropout)  # drop whole channels
ALPHA_DROPOUTS = (nn.AlphaDropout, nn.FeatureAlphaDropout)
# a user's subclass with a forward pass of its own is left as it is
SHARED_FORWARDS = {layer.forward for layer in (nn.Dropout, DropPath, *CHANNEL_DROPOUTS, *ALPHA_DROPOUTS)}


def draws_from_source(layer: Any) -> bool:
    """Return whether set_dropout_source makes the layer draw from the source."""
    return type(layer).forward in SHARED_FORWARDS


def set_dropout_source(model: Any, source: DropoutSource) -> None:
    """Let dropout and drop-path layers, in training, drop where source(name, shape) is below their rate."""
    names = {layer: name for name, layer in model.named_sublayers()}

    def drop(layer: Any, inputs: tuple[paddle.Tensor], output: paddle.Tensor) -> paddle.Tensor:
        (x,) = inputs
        rate = layer.rate if isinstance(layer, DropPath) else layer.p
        if not layer.training or not rate:
            return output
        is_kept = paddle.to_tensor(source(names[layer], _mask_shape(layer, x)) >= rate).astype(x.dtype)
        if isinstance(layer, ALPHA_DROPOUTS):
            scale, shift = alpha_dropout_map(rate)
            return (x * is_kept + SELU_LIMIT * (1 - is_kept)) * scale + shift
        is_unscaled = getattr(layer, "mode", "") == "downscale_in_infer"
        return x * is_kept / (1 if is_unscaled else (1 - rate) or 1)

    for layer in names:
        if draws_from_source(layer):
            layer.register_forward_post_hook(drop)


def _mask_shape(layer: Any, x: paddle.Tensor) -> tuple[int, ...]:
    """The shape of the numbers that decide what a layer drops of its input (N, C, ...), or (N, ..., C)."""
    if isinstance(layer, DropPath):
        return (x.shape[0], 1, 1, 1)
    axes = getattr(layer, "axis", None)
    if isinstance(layer, CHANNEL_DROPOUTS):
        is_channels_last = getattr(layer, "data_format", "NCHW").endswith("C")
        axes = [0, x.ndim - 1 if is_channels_last else 1]
    if axes is None:
        return tuple(x.shape)
    axes = [axes] if isinstance(axes, int) else axes
    return tuple(size if axis in axes else 1 for axis, size in enumerate(x.shape))
