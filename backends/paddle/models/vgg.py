"""VGG; repro/specs/vgg.py has its table and sources."""

from __future__ import annotations

from paddle import Tensor, nn
from paddle.nn import functional as F

from backends.paddle.layers import conv, max_pool, norm
from repro.specs.vgg import GRID, HIDDEN, VGGSpec


class Conv(nn.Layer):
    """A convolution with a bias, batch normalisation where the spec has it, and ReLU."""

    def __init__(self, spec: VGGSpec, channels_in: int, channels_out: int):
        super().__init__()
        self.conv = conv(channels_in, channels_out, 3, bias=True)
        self.norm = norm(spec, channels_out) if spec.normalised else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))


class VGG(nn.Layer):
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
            stages.append(nn.Sequential(*layers, max_pool(2, 2)))
        self.stages = nn.Sequential(*stages)
        self.grid = nn.AdaptiveAvgPool2D(GRID)
        self.hidden1 = nn.Linear(channels * GRID * GRID, HIDDEN)
        self.hidden2 = nn.Linear(HIDDEN, HIDDEN)
        self.dropout1 = nn.Dropout(spec.dropout)  # one for each use: a compiled step has one mask for each layer
        self.dropout2 = nn.Dropout(spec.dropout)
        self.classifier = nn.Linear(HIDDEN, spec.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stages(x)  # (N, 512, H/32, W/32)
        x = self.grid(x).flatten(1)  # (N, 512 * 7 * 7)
        x = self.dropout1(F.relu(self.hidden1(x)))  # (N, 4096)
        x = self.dropout2(F.relu(self.hidden2(x)))
        return self.classifier(x)
