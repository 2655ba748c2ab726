"""DenseNet; repro/specs/densenet.py has its table and sources."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backends.torch.layers import ConvNorm, avg_pool, conv, max_pool, norm
from repro.specs.densenet import Block as BlockConfig
from repro.specs.densenet import DenseNetSpec
from repro.specs.densenet import Stage as StageConfig


class Transition(nn.Module):
    """Batch normalisation, ReLU, 1x1 convolution and mean pooling: half the channels, a quarter of the pixels."""

    def __init__(self, spec: DenseNetSpec, channels_in: int, channels_out: int):
        super().__init__()
        self.norm = norm(spec, channels_in)
        self.conv = conv(channels_in, channels_out, 1)
        self.pool = avg_pool(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.conv(F.relu(self.norm(x), inplace=True)))


class Block(nn.Module):
    """A dense block: the channels to concatenate to the input."""

    def __init__(self, spec: DenseNetSpec, block: BlockConfig):
        super().__init__()
        self.norm1 = norm(spec, block.channels_in)
        self.conv1 = conv(block.channels_in, block.bottleneck, 1)
        self.norm2 = norm(spec, block.bottleneck)
        self.conv2 = conv(block.bottleneck, block.growth, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(F.relu(self.norm1(x), inplace=True))  # (N, bottleneck, H, W)
        return self.conv2(F.relu(self.norm2(x), inplace=True))  # (N, growth, H, W)


class Stage(nn.Module):
    """A transition, if any, and dense blocks, whose outputs are concatenated to their inputs."""

    def __init__(self, spec: DenseNetSpec, stage: StageConfig):
        super().__init__()
        self.transition = Transition(spec, *stage.transition) if stage.transition else nn.Identity()
        self.blocks = nn.ModuleList(Block(spec, block) for block in stage.blocks)

    def forward(self, x: Tensor) -> Tensor:
        x = self.transition(x)
        for block in self.blocks:
            x = torch.cat([x, block(x)], dim=1)
        return x


class DenseNet(nn.Module):
    """DenseNet: images (N, C, H, W) to logits (N, num_classes)."""

    def __init__(self, spec: DenseNetSpec):
        super().__init__()
        self.spec = spec
        self.stem = ConvNorm(spec, spec.in_channels, spec.stem, 7, stride=2, activation="relu")
        self.pool = max_pool(3, 2, padding=1)
        self.stages = nn.Sequential(*(Stage(spec, stage) for stage in spec.stages))
        self.norm = norm(spec, spec.features)
        self.dropout = nn.Dropout(spec.dropout)
        self.classifier = nn.Linear(spec.features, spec.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.stem(x))  # (N, stem, H/4, W/4)
        x = self.stages(x)  # (N, features, H/32, W/32)
        x = torch.mean(F.relu(self.norm(x), inplace=True), (2, 3))  # (N, features)
        return self.classifier(self.dropout(x))
