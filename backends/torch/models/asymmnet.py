"""AsymmNet and MobileNetV3; repro/specs/asymmnet.py has their tables and sources."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from backends.torch.layers import ACTIVATIONS, ConvNorm, SqueezeExcite, conv
from repro.specs.asymmnet import AsymmNetSpec
from repro.specs.asymmnet import Bottleneck as Block


class Bottleneck(nn.Module):
    """expand -> concatenate copies of the input -> depthwise -> squeeze-and-excite -> project."""

    def __init__(self, spec: AsymmNetSpec, block: Block):
        super().__init__()
        self.block = block
        if block.expands:
            self.expand = ConvNorm(spec, block.channels_in, block.pointwise, 1, activation=block.activation)
        self.depthwise = ConvNorm(
            spec, block.depthwise, block.depthwise, block.kernel, block.stride, block.depthwise, block.activation,
            spec.padding,
        )  # fmt: skip
        if block.squeeze:
            self.se = SqueezeExcite(block.depthwise, block.squeeze)
        self.project = ConvNorm(spec, block.depthwise, block.channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        if self.block.expands:
            y = self.expand(x)
            if self.block.asymmrate:  # 0 in MobileNetV3, where joining would copy all maps
                copies = [x] * self.block.asymmrate
                y = torch.cat([*copies, y, *copies], dim=1)
        y = self.depthwise(y)
        if self.block.squeeze:
            y = self.se(y)
        y = self.project(y)
        return x + y if self.block.residual else y


class AsymmNet(nn.Module):
    """AsymmNet and MobileNetV3: images (N, C, H, W) to logits (N, num_classes)."""

    def __init__(self, spec: AsymmNetSpec):
        super().__init__()
        self.spec = spec
        self.stem = ConvNorm(spec, spec.in_channels, spec.stem, 3, 2, activation="hard_swish", padding=spec.padding)
        self.stages = nn.Sequential(
            *(nn.Sequential(*(Bottleneck(spec, block) for block in blocks)) for blocks in spec.stages)
        )
        self.last = ConvNorm(spec, spec.stages[-1][-1].channels_out, spec.last, 1, activation="hard_swish")
        self.hidden = conv(spec.last, spec.hidden, 1, bias=spec.hidden_bias)
        self.act = ACTIVATIONS["hard_swish"]()
        self.dropout = nn.Dropout(spec.dropout)
        self.classifier = nn.Linear(spec.hidden, spec.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)  # (N, stem, H/2, W/2)
        x = self.stages(x)  # (N, C, H/32, W/32)
        x = torch.mean(self.last(x), (2, 3), keepdim=True)  # (N, last, 1, 1)
        x = self.act(self.hidden(x)).flatten(1)  # (N, hidden)
        return self.classifier(self.dropout(x))
