"""ShuffleNet V1; repro/specs/shufflenet_v1.py has its table and sources."""

from __future__ import annotations

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F

from backends.paddle.layers import ConvNorm, avg_pool, global_avg_pool, max_pool
from repro.specs.shufflenet_v1 import ShuffleNetV1Spec
from repro.specs.shufflenet_v1 import Unit as Block


class Unit(nn.Layer):
    """reduce -> depthwise -> shuffle -> expand, added to the input or concatenated to its mean pooling."""

    def __init__(self, spec: ShuffleNetV1Spec, block: Block):
        super().__init__()
        self.stride = block.stride
        self.reduce = ConvNorm(spec, block.channels_in, block.middle, 1, groups=block.reduce_groups, activation="relu")
        self.depthwise = ConvNorm(spec, block.middle, block.middle, 3, block.stride, block.middle)
        # (n, groups) -> (groups, n), as in the authors' code; the text of the paper has (groups, n) -> (n, groups)
        self.shuffle = nn.ChannelShuffle(block.middle // block.groups)
        self.expand = ConvNorm(spec, block.middle, block.branch, 1, groups=block.groups)
        self.pool = avg_pool(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.expand(self.shuffle(self.depthwise(self.reduce(x))))
        if self.stride == 1:
            return F.relu(x + y)
        return paddle.concat([self.pool(x), F.relu(y)], axis=1)


class ShuffleNetV1(nn.Layer):
    """ShuffleNet V1: images (N, C, H, W) to logits (N, num_classes)."""

    def __init__(self, spec: ShuffleNetV1Spec):
        super().__init__()
        self.spec = spec
        self.stem = ConvNorm(spec, spec.in_channels, spec.stem, 3, stride=2, activation="relu")
        self.pool = max_pool(3, 2, 1)
        self.stages = nn.Sequential(
            *(nn.Sequential(*(Unit(spec, block) for block in blocks)) for blocks in spec.stages)
        )
        self.dropout = nn.Dropout(spec.dropout)
        self.classifier = nn.Linear(spec.stages[-1][-1].channels_out, spec.num_classes, bias_attr=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.stem(x))  # (N, stem, H/4, W/4)
        x = self.stages(x)  # (N, C, H/32, W/32)
        return self.classifier(self.dropout(global_avg_pool(x)))
