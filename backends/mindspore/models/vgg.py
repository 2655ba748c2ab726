"""VGG; repro/specs/vgg.py has its table and sources."""

from __future__ import annotations

from mindspore import Tensor, nn, ops

from backends.mindspore.layers import Dropout, conv, max_pool, norm
from repro.specs.vgg import GRID, HIDDEN, VGGSpec


class Conv(nn.Cell):
    """A convolution with a bias, batch normalisation where the spec has it, and ReLU."""

    def __init__(self, spec: VGGSpec, channels_in: int, channels_out: int):
        super().__init__()
        self.conv = conv(channels_in, channels_out, 3, bias=True)
        self.norm = norm(spec, channels_out) if spec.normalised else nn.Identity()

    def construct(self, x: Tensor) -> Tensor:
        return ops.relu(self.norm(self.conv(x)))


class VGG(nn.Cell):
    """VGG: images (N, C, H, W) to logits (N, num_classes)."""

    def __init__(self, spec: VGGSpec):
        super().__init__()
        self.spec = spec
        stages, channels = [], spec.in_channels
        for widths in spec.stages:
            layers = []
            for width in widths:
                layers.append(Conv(spec, channels, width))
                channels = width
            stages.append(nn.SequentialCell([*layers, max_pool(2, 2)]))
        self.stages = nn.SequentialCell(stages)
        self.grid = nn.AdaptiveAvgPool2d((GRID, GRID))
        self.hidden1 = nn.Dense(channels * GRID * GRID, HIDDEN)
        self.hidden2 = nn.Dense(HIDDEN, HIDDEN)
        self.dropout1 = Dropout(spec.dropout)  # one for each use: a compiled step has one mask for each layer
        self.dropout2 = Dropout(spec.dropout)
        self.classifier = nn.Dense(HIDDEN, spec.num_classes)

    def construct(self, x: Tensor) -> Tensor:
        x = self.stages(x)  # (N, 512, H/32, W/32)
        x = ops.flatten(self.grid(x))  # (N, 512 * 7 * 7)
        x = self.dropout1(ops.relu(self.hidden1(x)))  # (N, 4096)
        x = self.dropout2(ops.relu(self.hidden2(x)))
        return self.classifier(x)
