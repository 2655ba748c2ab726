"""Dropout and drop path from a source of random numbers that every backend shares."""

from __future__ import annotations

from typing import Any

import paddle
from paddle import nn

from backends.paddle.layers import DropPath
from repro.interface.contract import DropoutSource


def set_dropout_source(model: Any, source: DropoutSource) -> None:
    """Let dropout and drop-path layers, in training, drop where source(name, shape) is below their rate."""
    names = {layer: name for name, layer in model.named_sublayers()}

    def drop(layer: Any, inputs: tuple[paddle.Tensor], output: paddle.Tensor) -> paddle.Tensor:
        (x,) = inputs
        is_drop_path = isinstance(layer, DropPath)
        rate = layer.rate if is_drop_path else layer.p
        if not layer.training or not rate:
            return output
        numbers = source(names[layer], (x.shape[0], 1, 1, 1) if is_drop_path else tuple(x.shape))
        return x * paddle.to_tensor(numbers >= rate).astype(x.dtype) / (1 - rate)

    for layer in names:
        if isinstance(layer, (nn.Dropout, DropPath)):
            layer.register_forward_post_hook(drop)
