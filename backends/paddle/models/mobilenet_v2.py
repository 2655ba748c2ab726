"""MobileNetV2; repro/specs/mobilenet_v2.py has its table and source."""

from __future__ import annotations

from paddle import Tensor, nn

from backends.paddle.layers import ConvNorm, global_avg_pool
from repro.specs.mobilenet_v2 import InvertedResidual as Block
from repro.specs.mobilenet_v2 import MobileNetV2Spec


class InvertedResidual(nn.Layer):
    """expand -> depthwise -> project."""

    def __init__(self, spec: MobileNetV2Spec, block: Block):
        super().__init__()
        self.block = block
        if block.expansion > 1:
            self.expand = ConvNorm(spec, block.channels_in, block.expanded, 1, activation="relu6")
        self.depthwise = ConvNorm(
            spec, block.expanded, block.expanded, 3, block.stride, block.expanded, "relu6", spec.padding
        )
        self.project = ConvNorm(spec, block.expanded, block.channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.expand(x) if self.block.expansion > 1 else x
        y = self.project(self.depthwise(y))
        return x + y if self.block.residual else y


class MobileNetV2(nn.Layer):
    """MobileNetV2: images (N, C, H, W) to logits (N, num_classes)."""

    def __init__(self, spec: MobileNetV2Spec):
        super().__init__()
        self.spec = spec
        self.stem = ConvNorm(spec, spec.in_channels, spec.stem, 3, 2, activation="relu6", padding=spec.padding)
        self.stages = nn.Sequential(
            *(nn.Sequential(*(InvertedResidual(spec, block) for block in blocks)) for blocks in spec.stages)
        )
        self.last = ConvNorm(spec, spec.stages[-1][-1].channels_out, spec.last, 1, activation="relu6")
        self.dropout = nn.Dropout(spec.dropout)
        self.classifier = nn.Linear(spec.last, spec.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)  # (N, stem, H/2, W/2)
        x = self.stages(x)  # (N, C, H/32, W/32)
        x = global_avg_pool(self.last(x))  # (N, last)
        return self.classifier(self.dropout(x))
