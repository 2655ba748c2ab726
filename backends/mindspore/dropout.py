"""Dropout and drop path from a source of random numbers that every backend shares.

In eager mode, hooks ask the source while the model runs. A compiled graph cannot call back, so that the masks of the
next step are drawn before it, into parameters of the layers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from mindspore import Parameter, Tensor, nn

from backends.mindspore.layers import Dropout
from backends.mindspore.model import MASK_SUFFIX, run_eagerly
from repro.errors import ReproError
from repro.interface.contract import DropoutSource


def set_dropout_source(model: Any, source: DropoutSource) -> None:
    """Let dropout and drop-path layers, in training, drop where source(name, shape) is below their rate."""
    model.dropout_source = source
    model.dropout_layers = {
        cell: name for name, cell in model.cells_and_names() if isinstance(cell, (Dropout, nn.Dropout))
    }
    model.mask_batch_size = 0  # images that the masks of the compiled step are made for


def dropout_hooks(model: Any) -> list[Any]:
    """Register hooks that ask the source in eager mode, and return their handles.

    The caller removes them before the next graph is compiled, which does not support hooks.
    """

    def drop(cell: Any, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        (x,) = inputs
        is_own = isinstance(cell, Dropout)
        rate = cell.rate if is_own else cell.p
        if not cell.training or not rate:
            return output
        numbers = model.dropout_source(model.dropout_layers[cell], cell.mask_shape(x.shape) if is_own else x.shape)
        return x * Tensor(numbers >= rate).astype(x.dtype) / (1 - rate)

    return [cell.register_forward_hook(drop) for cell in getattr(model, "dropout_layers", ())]


def draw_dropout_masks(model: Any, images: np.ndarray) -> None:
    """Draw the masks of the next compiled step for images (N, C, H, W).

    Raises ReproError for an nn.Dropout, which cannot hold a mask.
    """
    for cell, name in getattr(model, "dropout_layers", {}).items():
        if not isinstance(cell, Dropout):
            raise ReproError(
                f"{name} is nn.Dropout, which draws its own random numbers in a compiled step; use compiled=False"
            )
    cells = {cell: name for cell, name in getattr(model, "dropout_layers", {}).items() if cell.rate}
    if cells and model.mask_batch_size != len(images):  # a forward pass finds the layers that run, and their shapes

        def create_mask(cell: Any, inputs: tuple[Tensor], _output: Tensor) -> None:
            ones = Tensor(np.ones(cell.mask_shape(inputs[0].shape), np.float32))
            cell.mask = Parameter(ones, name=cells[cell] + MASK_SUFFIX, requires_grad=False)

        run_eagerly(model, images, [cell.register_forward_hook(create_mask) for cell in cells])
        model.mask_batch_size = len(images)
    for cell, name in cells.items():
        if cell.mask is not None:
            numbers = model.dropout_source(name, cell.mask.shape)
            cell.mask.set_data(Tensor((numbers >= cell.rate).astype(np.float32)))
