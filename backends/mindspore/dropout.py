"""Dropout and drop path from a source of random numbers that every backend shares.

In eager mode, hooks call the source while the model runs. A compiled graph cannot call back, so that the masks of the
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

CHANNEL_DROPOUTS = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)  # drop whole channels
# a user's subclass with a construct of its own is left as it is
SHARED_CONSTRUCTS = {cell.construct for cell in (Dropout, nn.Dropout, *CHANNEL_DROPOUTS)}


def draws_from_source(cell: Any) -> bool:
    """Return whether set_dropout_source makes the cell draw from the source."""
    return type(cell).construct in SHARED_CONSTRUCTS


def drop_rate(cell: Any) -> float:
    """The share of values that a dropout or drop-path layer drops."""
    if isinstance(cell, Dropout):
        return cell.rate
    if isinstance(cell, nn.Dropout):
        return 1 - cell.keep_prob if cell.p is None else cell.p
    return cell.prob if isinstance(cell, nn.Dropout1d) else round(1 - cell.keep_prob, 12)


def set_dropout_source(model: Any, source: DropoutSource) -> None:
    """Let dropout and drop-path layers, in training, drop where source(name, shape) is below their rate."""
    model.dropout_source = source
    model.dropout_layers = {cell: name for name, cell in model.cells_and_names() if draws_from_source(cell)}
    model.mask_batch_size = 0  # images that the masks of the compiled step are made for


def dropout_hooks(model: Any) -> list[Any]:
    """Register hooks that call the source in eager mode, and return their handles.

    The caller removes them before the next graph is compiled, which does not support hooks.
    """

    def drop(cell: Any, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        (x,) = inputs
        rate = drop_rate(cell)
        if not cell.training or not rate:
            return output
        numbers = model.dropout_source(model.dropout_layers[cell], _mask_shape(cell, x))
        return x * Tensor(numbers >= rate).astype(x.dtype) / ((1 - rate) or 1)

    return [cell.register_forward_hook(drop) for cell in getattr(model, "dropout_layers", ())]


def _mask_shape(cell: Any, x: Tensor) -> tuple[int, ...]:
    """The shape of the numbers that decide what a cell drops of its input (N, C, ...)."""
    if isinstance(cell, Dropout):
        return cell.mask_shape(x.shape)
    if not isinstance(cell, CHANNEL_DROPOUTS):
        return x.shape
    is_single = (isinstance(cell, nn.Dropout1d) and x.ndim == 2) or (isinstance(cell, nn.Dropout3d) and x.ndim == 4)
    axes = 1 if is_single else 2  # a single image (C, ...) has no axis N
    return (*x.shape[:axes], *[1] * (x.ndim - axes))


def draw_dropout_masks(model: Any, images: np.ndarray) -> None:
    """Draw the masks of the next compiled step for images (N, C, H, W).

    Raises ReproError for an nn.Dropout, which cannot hold a mask, and for a layer that runs more than once in a step:
    it holds one mask.
    """
    for cell, name in getattr(model, "dropout_layers", {}).items():
        if not isinstance(cell, Dropout):
            raise ReproError(
                f"{name} is nn.{type(cell).__name__}, which draws its own random numbers in a compiled step; "
                "use compiled=False"
            )
    cells = {cell: name for cell, name in getattr(model, "dropout_layers", {}).items() if cell.rate}
    if cells and model.mask_batch_size != len(images):  # a forward pass finds the layers that run, and their shapes
        once: set[Any] = set()

        def create_mask(cell: Any, inputs: tuple[Tensor], _output: Tensor) -> None:
            if cell in once:
                raise ReproError(
                    f"{cells[cell]} runs more than once in a step, and a compiled step has one mask for each dropout "
                    "layer; give the network one layer for each place, or use compiled=False"
                )
            once.add(cell)
            ones = Tensor(np.ones(cell.mask_shape(inputs[0].shape), np.float32))
            cell.mask = Parameter(ones, name=cells[cell] + MASK_SUFFIX, requires_grad=False)

        run_eagerly(model, images, [cell.register_forward_hook(create_mask) for cell in cells])
        model.mask_batch_size = len(images)
    for cell, name in cells.items():
        if cell.mask is not None:
            numbers = model.dropout_source(name, cell.mask.shape)
            cell.mask.set_data(Tensor((numbers >= cell.rate).astype(np.float32)))
