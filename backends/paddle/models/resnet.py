"""ResNet and ResNet V2; repro/specs/resnet.py has their tables and sources."""

from __future__ import annotations

from paddle import Tensor, nn
from paddle.nn import functional as F

from backends.paddle.layers import ConvNorm, conv, global_avg_pool, max_pool, norm
from repro.specs.resnet import Bottleneck as Block
from repro.specs.resnet import ResNetSpec, ResNetV2Spec


class Bottleneck(nn.Layer):
    """reduce -> spatial -> restore, added to the shortcut, and ReLU."""

    def __init__(self, spec: ResNetSpec, block: Block):
        super().__init__()
        first, second = spec.strides(block)
        self.reduce = ConvNorm(spec, block.channels_in, block.width, 1, first, activation="relu", bias=spec.bias)
        self.spatial = ConvNorm(spec, block.width, block.width, 3, second, activation="relu", bias=spec.bias)
        self.restore = ConvNorm(spec, block.width, block.channels_out, 1, bias=spec.bias)
        self.shortcut = (
            ConvNorm(spec, block.channels_in, block.channels_out, 1, block.stride, bias=spec.bias)
            if block.projected
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.shortcut(x) + self.restore(self.spatial(self.reduce(x))))


class ResNet(nn.Layer):
    """ResNet: images (N, C, H, W) to logits (N, num_classes)."""

    def __init__(self, spec: ResNetSpec):
        super().__init__()
        self.spec = spec
        self.stem = ConvNorm(spec, spec.in_channels, 64, 7, stride=2, activation="relu", bias=spec.bias)
        self.pool = max_pool(3, 2, 1)
        self.stages = nn.Sequential(
            *(nn.Sequential(*(Bottleneck(spec, block) for block in blocks)) for blocks in spec.stages)
        )
        self.dropout = nn.Dropout(spec.dropout)
        self.classifier = nn.Linear(spec.stages[-1][-1].channels_out, spec.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.stem(x))  # (N, 64, H/4, W/4)
        x = self.stages(x)  # (N, C, H/32, W/32)
        return self.classifier(self.dropout(global_avg_pool(x)))


class PreactBottleneck(nn.Layer):
    """norm -> ReLU -> reduce -> spatial -> restore, added to the shortcut."""

    def __init__(self, spec: ResNetV2Spec, block: Block):
        super().__init__()
        self.projected = block.projected
        self.norm = norm(spec, block.channels_in)
        self.reduce = ConvNorm(spec, block.channels_in, block.width, 1, activation="relu")
        self.spatial = ConvNorm(spec, block.width, block.width, 3, block.stride, activation="relu")
        self.restore = conv(block.width, block.channels_out, 1, bias=spec.bias)
        if block.projected:
            self.shortcut = conv(block.channels_in, block.channels_out, 1, block.stride, bias=spec.bias)
        elif block.stride > 1:
            self.shortcut = max_pool(1, block.stride)  # takes every stride-th position
        else:
            self.shortcut = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm(x))
        shortcut = self.shortcut(y if self.projected else x)
        return shortcut + self.restore(self.spatial(self.reduce(y)))


class ResNetV2(nn.Layer):
    """ResNet V2: images (N, C, H, W) to logits (N, num_classes)."""

    def __init__(self, spec: ResNetV2Spec):
        super().__init__()
        self.spec = spec
        self.stem = conv(spec.in_channels, 64, 7, stride=2, bias=spec.stem_bias)
        self.pool = nn.Sequential(nn.ZeroPad2D(1), max_pool(3, 2)) if spec.pool_border == "zeros" else max_pool(3, 2, 1)
        self.stages = nn.Sequential(
            *(nn.Sequential(*(PreactBottleneck(spec, block) for block in blocks)) for blocks in spec.stages)
        )
        channels = spec.stages[-1][-1].channels_out
        self.norm = norm(spec, channels)
        self.dropout = nn.Dropout(spec.dropout)
        self.classifier = nn.Linear(channels, spec.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.stem(x))  # (N, 64, H/4, W/4)
        x = self.stages(x)  # (N, C, H/32, W/32)
        x = F.relu(self.norm(x))
        return self.classifier(self.dropout(global_avg_pool(x)))
