"""RDNet; repro/specs/rdnet.py has its table and sources."""

from __future__ import annotations

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F

from backends.paddle.layers import ACTIVATIONS, DropPath, LayerNorm2D, conv, global_avg_pool
from repro.specs.rdnet import PATCH, RDNetSpec
from repro.specs.rdnet import Block as BlockConfig
from repro.specs.rdnet import Stage as StageConfig
from repro.specs.rdnet import Transition as TransitionConfig


class Stem(nn.Layer):
    """A convolution of patches, and layer normalisation."""

    def __init__(self, spec: RDNetSpec):
        super().__init__()
        self.conv = conv(spec.in_channels, spec.stem, PATCH, PATCH, bias=True, padding=0)
        self.norm = LayerNorm2D(spec.stem, spec.norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class Transition(nn.Layer):
    """Layer normalisation and a convolution: fewer channels and, with stride 2, a quarter of the pixels."""

    def __init__(self, spec: RDNetSpec, block: TransitionConfig):
        super().__init__()
        self.norm = LayerNorm2D(block.channels_in, spec.norm_eps)
        self.conv = conv(block.channels_in, block.channels_out, block.stride, block.stride, bias=True, padding=0)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.norm(x))


class EffectiveSqueezeExcite(nn.Layer):
    """A gate for each channel by one convolution of the means of all channels (Lee and Park, arXiv:1911.06667)."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = conv(channels, channels, 1, bias=True)
        self.gate = ACTIVATIONS["hard_sigmoid"]()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.conv(global_avg_pool(x, keepdim=True)))


class Block(nn.Layer):
    """A dense block: the channels to concatenate to the input."""

    def __init__(self, spec: RDNetSpec, block: BlockConfig):
        super().__init__()
        channels, growth = block.channels_in, block.growth
        self.depthwise = conv(channels, channels, 7, groups=channels, bias=True)
        self.norm = LayerNorm2D(channels, spec.norm_eps)
        self.expand = conv(channels, block.expanded, 1, bias=True)
        self.project = conv(block.expanded, growth, 1, bias=True)
        self.se = EffectiveSqueezeExcite(growth) if block.gate else nn.Identity()
        self.scale = self.create_parameter([growth], default_initializer=nn.initializer.Constant(1e-6))
        self.drop_path = DropPath(spec.drop_path * block.depth)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.depthwise(x))  # (N, channels, H, W)
        x = self.project(F.gelu(self.expand(x)))  # (N, growth, H, W)
        return self.drop_path(self.se(x) * self.scale.reshape([-1, 1, 1]))


class Stage(nn.Layer):
    """A transition, if any, and dense blocks, whose outputs are concatenated to their inputs."""

    def __init__(self, spec: RDNetSpec, stage: StageConfig):
        super().__init__()
        self.transition = Transition(spec, stage.transition) if stage.transition else nn.Identity()
        self.blocks = nn.LayerList([Block(spec, block) for block in stage.blocks])

    def forward(self, x: Tensor) -> Tensor:
        x = self.transition(x)
        for block in self.blocks:
            x = paddle.concat([x, block(x)], axis=1)
        return x


class RDNet(nn.Layer):
    """RDNet: images (N, C, H, W) to logits (N, num_classes)."""

    def __init__(self, spec: RDNetSpec):
        super().__init__()
        self.spec = spec
        self.stem = Stem(spec)
        self.stages = nn.Sequential(*(Stage(spec, stage) for stage in spec.stages))
        self.norm = nn.LayerNorm(spec.features, epsilon=spec.head_eps)
        self.dropout = nn.Dropout(spec.dropout)
        self.classifier = nn.Linear(spec.features, spec.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)  # (N, stem, H/4, W/4)
        x = self.stages(x)  # (N, features, H/32, W/32)
        x = self.norm(global_avg_pool(x))  # (N, features)
        return self.classifier(self.dropout(x))
