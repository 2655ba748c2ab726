"""ShuffleNet V2; repro/specs/shufflenet_v2.py has its table, its two structures and their sources."""

from __future__ import annotations

import paddle
from paddle import Tensor, nn

from backends.paddle.layers import ConvNorm, global_avg_pool, max_pool
from repro.specs.shufflenet_v2 import ShuffleNetV2Spec
from repro.specs.shufflenet_v2 import Unit as Block


class Unit(nn.Layer):
    """The concatenation of shortcut and branch, with a channel shuffle at the start or at the end."""

    def __init__(self, spec: ShuffleNetV2Spec, block: Block):
        super().__init__()
        self.stride = block.stride
        self.before, self.shortcut, self.after = nn.Identity(), nn.Identity(), nn.Identity()
        if spec.structure == "torchvision":
            self.after = nn.ChannelShuffle(2)  # alternates the channels of both halves
        elif block.stride == 1:
            self.before = nn.ChannelShuffle(block.channels_in // 2)  # the even channels, then the odd ones
        if block.stride == 2:
            self.shortcut = nn.Sequential(
                ConvNorm(spec, block.channels_in, block.channels_in, 3, 2, block.channels_in),
                ConvNorm(spec, block.channels_in, block.shortcut, 1, activation="relu"),
            )
        self.branch = nn.Sequential(
            ConvNorm(spec, block.branch_in, block.middle, 1, activation="relu"),
            ConvNorm(spec, block.middle, block.middle, 3, block.stride, block.middle),
            ConvNorm(spec, block.middle, block.branch_out, 1, activation="relu"),
        )

    def forward(self, x: Tensor) -> Tensor:
        a, b = (x, x) if self.stride == 2 else self.before(x).chunk(2, axis=1)
        return self.after(paddle.concat([self.shortcut(a), self.branch(b)], axis=1))


class ShuffleNetV2(nn.Layer):
    """ShuffleNet V2: images (N, C, H, W) to logits (N, num_classes)."""

    def __init__(self, spec: ShuffleNetV2Spec):
        super().__init__()
        self.spec = spec
        self.stem = ConvNorm(spec, spec.in_channels, spec.stem, 3, stride=2, activation="relu")
        self.pool = max_pool(3, 2, 1)
        self.stages = nn.Sequential(
            *(nn.Sequential(*(Unit(spec, block) for block in blocks)) for blocks in spec.stages)
        )
        self.last = ConvNorm(spec, spec.stages[-1][-1].channels_out, spec.last, 1, activation="relu")
        self.dropout = nn.Dropout(spec.dropout)
        self.classifier = nn.Linear(spec.last, spec.num_classes, bias_attr=None if spec.classifier_bias else False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.stem(x))  # (N, stem, H/4, W/4)
        x = self.last(self.stages(x))  # (N, last, H/32, W/32)
        return self.classifier(self.dropout(global_avg_pool(x)))
