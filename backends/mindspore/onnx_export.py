"""Export to ONNX by MindSpore's exporter, from a copy of the model with other operators.

The exporter lacks some operators and writes the batch size into every reshape. The layers below compute the same
without them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mindspore
import numpy as np
from mindspore import Tensor, nn, ops

from backends.mindspore.layers import DepthwiseConv2d
from backends.mindspore.model import create_model, execution_mode, export_weights, load_weights
from backends.mindspore.models.resnet_cifar import PadChannels


class HardSigmoid(nn.HSigmoid):
    """A hard sigmoid by clamping."""

    def construct(self, x: Tensor) -> Tensor:
        return ops.clamp(x + 3, 0, 6) / 6


class HardSwish(nn.HSwish):
    """A hard swish by clamping; MindSpore would turn one by relu6 into its own operator again."""

    def construct(self, x: Tensor) -> Tensor:
        return x * (ops.clamp(x + 3, 0, 6) / 6)


class MaxPool2d(nn.MaxPool2d):
    """Maximum pooling with a border of repeated pixels, each of which is also inside of every window that has it."""

    def construct(self, x: Tensor) -> Tensor:
        if max(self.padding):
            x = ops.cat((x[:, :, :1], x, x[:, :, -1:]), axis=2)
            x = ops.cat((x[:, :, :, :1], x, x[:, :, :, -1:]), axis=3)
        return ops.MaxPool(self.kernel_size, self.stride, "valid")(x)


class ZeroPad2d(nn.ZeroPad2d):
    """Padding with zeros by ops.Pad."""

    def construct(self, x: Tensor) -> Tensor:
        left, right, top, bottom = self.padding
        return ops.Pad(((0, 0), (0, 0), (top, bottom), (left, right)))(x)


class AvgPool2d(nn.AvgPool2d):
    """Mean pooling after padding by ops.Pad."""

    def construct(self, x: Tensor) -> Tensor:
        x = ops.Pad(((0, 0), (0, 0), *self.borders))(x)
        return ops.AvgPool(self.kernel_size, self.stride, "valid")(x)


class ChannelShuffle(nn.ChannelShuffle):
    """A channel shuffle whose reshapes leave the batch size open."""

    def construct(self, x: Tensor) -> Tensor:
        _, channels, height, width = x.shape
        x = x.reshape(-1, self.groups, channels // self.groups, height * width)
        return x.transpose(0, 2, 1, 3).reshape(-1, channels, height, width)


class ZeroChannels(PadChannels):
    """Channels of zeros by ops.Pad."""

    def construct(self, x: Tensor) -> Tensor:
        return ops.Pad(((0, 0), (0, self.extra), (0, 0), (0, 0)))(self.sample(x))


REPLACEMENTS = {
    nn.HSigmoid: HardSigmoid, nn.HSwish: HardSwish, nn.MaxPool2d: MaxPool2d, nn.AvgPool2d: AvgPool2d,
    nn.ZeroPad2d: ZeroPad2d, nn.ChannelShuffle: ChannelShuffle, PadChannels: ZeroChannels, DepthwiseConv2d: nn.Conv2d,
}  # fmt: skip


def export_onnx(model: Any, path: Path, size: int) -> None:
    """Write the model in evaluation mode as ONNX for images (N, C, size, size), by mindspore.onnx.export."""
    copy = create_model(model.spec)
    load_weights(copy, export_weights(model))
    for _, cell in copy.cells_and_names():
        cell.__class__ = REPLACEMENTS.get(type(cell), type(cell))
        if isinstance(cell, AvgPool2d):
            _, _, top, bottom, left, right = cell.avg_pool.pad_list  # a graph cannot read it from the operator
            cell.borders = ((top, bottom), (left, right))
    images = Tensor(np.zeros((2, model.spec.in_channels, size, size), np.float32))
    with execution_mode(mindspore.GRAPH_MODE):
        mindspore.onnx.export(
            copy, images, file_name=str(path), input_names=["images"], dynamic_axes={"images": {0: "batch"}}
        )
