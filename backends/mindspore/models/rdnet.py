"""RDNet; repro/specs/rdnet.py has its table and sources."""

from __future__ import annotations

import mindspore
from mindspore import Parameter, Tensor, nn, ops

from backends.mindspore.layers import ACTIVATIONS, Dropout, DropPath, LayerNorm2d, conv
from repro.specs.rdnet import PATCH, RDNetSpec
from repro.specs.rdnet import Block as BlockConfig
from repro.specs.rdnet import Stage as StageConfig
from repro.specs.rdnet import Transition as TransitionConfig


class Stem(nn.Cell):
    """A convolution of patches, and layer normalisation."""

    def __init__(self, spec: RDNetSpec):
        super().__init__()
        self.conv = conv(spec.in_channels, spec.stem, PATCH, PATCH, bias=True, padding=0)
        self.norm = LayerNorm2d(spec.stem, spec.norm_eps)

    def construct(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class Transition(nn.Cell):
    """Layer normalisation and a convolution: fewer channels and, with stride 2, a quarter of the pixels."""

    def __init__(self, spec: RDNetSpec, block: TransitionConfig):
        super().__init__()
        self.norm = LayerNorm2d(block.channels_in, spec.norm_eps)
        self.conv = conv(block.channels_in, block.channels_out, block.stride, block.stride, bias=True, padding=0)

    def construct(self, x: Tensor) -> Tensor:
        return self.conv(self.norm(x))


class EffectiveSqueezeExcite(nn.Cell):
    """A gate for each channel by one convolution of the means of all channels (Lee and Park, arXiv:1911.06667)."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = conv(channels, channels, 1, bias=True)
        self.gate = ACTIVATIONS["hard_sigmoid"]()

    def construct(self, x: Tensor) -> Tensor:
        return x * self.gate(self.conv(ops.mean(x, (2, 3), keep_dims=True)))


class Block(nn.Cell):
    """A dense block: the channels to concatenate to the input."""

    def __init__(self, spec: RDNetSpec, block: BlockConfig):
        super().__init__()
        channels, growth = block.channels_in, block.growth
        self.depthwise = conv(channels, channels, 7, groups=channels, bias=True)
        self.norm = LayerNorm2d(channels, spec.norm_eps)
        self.expand = conv(channels, block.expanded, 1, bias=True)
        self.project = conv(block.expanded, growth, 1, bias=True)
        self.se = EffectiveSqueezeExcite(growth) if block.gate else nn.Identity()
        self.scale = Parameter(ops.full((growth,), 1e-6, dtype=mindspore.float32))  # full() yields integers otherwise
        self.drop_path = DropPath(spec.drop_path * block.depth)

    def construct(self, x: Tensor) -> Tensor:
        x = self.norm(self.depthwise(x))  # (N, channels, H, W)
        x = self.project(ops.gelu(self.expand(x), approximate="none"))  # (N, growth, H, W)
        return self.drop_path(self.se(x) * self.scale.reshape(-1, 1, 1))


class Stage(nn.Cell):
    """A transition, if any, and dense blocks, whose outputs are concatenated to their inputs."""

    def __init__(self, spec: RDNetSpec, stage: StageConfig):
        super().__init__()
        self.transition = Transition(spec, stage.transition) if stage.transition else nn.Identity()
        self.blocks = nn.CellList([Block(spec, block) for block in stage.blocks])

    def construct(self, x: Tensor) -> Tensor:
        x = self.transition(x)
        for block in self.blocks:
            x = ops.cat((x, block(x)), axis=1)
        return x


class RDNet(nn.Cell):
    """RDNet: images (N, C, H, W) to logits (N, num_classes)."""

    def __init__(self, spec: RDNetSpec):
        super().__init__()
        self.spec = spec
        self.stem = Stem(spec)
        self.stages = nn.SequentialCell([Stage(spec, stage) for stage in spec.stages])
        self.norm = nn.LayerNorm((spec.features,), epsilon=spec.head_eps)
        self.dropout = Dropout(spec.dropout)
        self.classifier = nn.Dense(spec.features, spec.num_classes)

    def construct(self, x: Tensor) -> Tensor:
        x = self.stem(x)  # (N, stem, H/4, W/4)
        x = self.stages(x)  # (N, features, H/32, W/32)
        x = self.norm(ops.mean(x, (2, 3)))  # (N, features)
        return self.classifier(self.dropout(x))
