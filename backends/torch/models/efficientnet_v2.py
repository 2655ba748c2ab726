"""EfficientNetV2; repro/specs/efficientnet_v2.py has its tables and sources."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from backends.torch.layers import ConvNorm, DropPath, SqueezeExcite
from repro.specs.efficientnet_v2 import Block, EfficientNetV2Spec


class FusedMBConv(nn.Module):
    """expand (3x3) -> project (1x1), or a single 3x3 convolution without an expansion."""

    def __init__(self, spec: EfficientNetV2Spec, block: Block):
        super().__init__()
        self.block = block
        if block.expands:
            self.expand = ConvNorm(
                spec, block.channels_in, block.expanded, 3, block.stride,
                activation=spec.activation, padding=spec.padding,
            )  # fmt: skip
            self.project = ConvNorm(spec, block.expanded, block.channels_out, 1, activation=spec.project_activation)
        else:
            self.project = ConvNorm(
                spec, block.channels_in, block.channels_out, 3, block.stride,
                activation=spec.activation, padding=spec.padding,
            )  # fmt: skip
        self.drop_path = DropPath(spec.drop_path * block.depth)

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.expand(x) if self.block.expands else x)
        return x + self.drop_path(y) if self.block.residual else y


class MBConv(nn.Module):
    """expand (1x1) -> depthwise -> squeeze-and-excite -> project (1x1)."""

    def __init__(self, spec: EfficientNetV2Spec, block: Block):
        super().__init__()
        self.block = block
        self.expand = ConvNorm(spec, block.channels_in, block.expanded, 1, activation=spec.activation)
        self.depthwise = ConvNorm(
            spec, block.expanded, block.expanded, 3, block.stride, block.expanded, spec.activation, spec.padding
        )
        self.se = SqueezeExcite(block.expanded, block.squeeze, spec.activation, "sigmoid", bias=spec.squeeze_bias)
        self.project = ConvNorm(spec, block.expanded, block.channels_out, 1, activation=spec.project_activation)
        self.drop_path = DropPath(spec.drop_path * block.depth)

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.se(self.depthwise(self.expand(x))))
        return x + self.drop_path(y) if self.block.residual else y


class EfficientNetV2(nn.Module):
    """EfficientNetV2: images (N, C, H, W) to logits (N, num_classes)."""

    def __init__(self, spec: EfficientNetV2Spec):
        super().__init__()
        self.spec = spec
        self.stem = ConvNorm(
            spec, spec.in_channels, spec.stem, 3, stride=2, activation=spec.activation, padding=spec.padding
        )
        self.stages = nn.Sequential(
            *(
                nn.Sequential(*((FusedMBConv if block.fused else MBConv)(spec, block) for block in blocks))
                for blocks in spec.stages
            )
        )
        self.head = ConvNorm(spec, spec.stages[-1][-1].channels_out, spec.head, 1, activation=spec.activation)
        self.dropout = nn.Dropout(spec.dropout)
        self.classifier = nn.Linear(spec.head, spec.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)  # (N, stem, H/2, W/2)
        x = self.stages(x)  # (N, C, H/32, W/32)
        if self.spec.pool_before_head:
            x = torch.mean(x, (2, 3), keepdim=True)  # (N, C, 1, 1)
        x = torch.mean(self.head(x), (2, 3))  # (N, head)
        return self.classifier(self.dropout(x))
