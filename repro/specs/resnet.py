"""ResNet with bottlenecks (He et al., "Deep Residual Learning for Image Recognition", arXiv:1512.03385, Table 1) and
its pre-activated second version (He et al., "Identity Mappings in Deep Residual Networks", arXiv:1603.05027), which
packages build in different ways: docs/resnet.md tells them apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from repro.errors import ReproError
from repro.specs.base import Shape, Spec, Trace

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}  # of each stage, by depth
WIDTHS = (64, 128, 256, 512)  # inside the blocks of each stage


@dataclass(frozen=True)
class Bottleneck:
    """reduce (1x1) -> spatial (3x3, stride) -> restore (1x1), added to the input or to a 1x1 projection of it."""

    channels_in: int
    width: int
    stride: int
    projected: bool

    @property
    def channels_out(self) -> int:
        return 4 * self.width


@dataclass(frozen=True, kw_only=True)
class ResNetSpec(Spec):
    """The first version: normalisation after each convolution, ReLU after the addition."""

    stages: tuple[tuple[Bottleneck, ...], ...]

    def walk(self, net: Trace, x: Shape) -> Shape:
        x = net.stage("stem", net.conv_norm("stem", x, 64, 7, stride=2))
        x = net.stage("pool", net.pool(x, 3, 2))
        for number, stage in enumerate(self.stages):
            for index, block in enumerate(stage):
                name = f"stages.{number}.{index}"
                y = net.conv_norm(f"{name}.reduce", x, block.width, 1)
                y = net.conv_norm(f"{name}.spatial", y, block.width, 3, block.stride)
                y = net.conv_norm(f"{name}.restore", y, block.channels_out, 1)
                if block.projected:
                    net.conv_norm(f"{name}.shortcut", x, block.channels_out, 1, block.stride)
                x = net.stage(name, y)
        return net.linear("classifier", x, self.num_classes)


@dataclass(frozen=True, kw_only=True)
class ResNetV2Spec(Spec):
    """The second version: normalisation and ReLU before each convolution, nothing after the addition."""

    stages: tuple[tuple[Bottleneck, ...], ...]
    stem_bias: bool
    bias: bool  # of each block's last convolution and of its projection
    pool_border: Literal["ignored", "zeros"]  # what the stem's maximum takes the border for

    def walk(self, net: Trace, x: Shape) -> Shape:
        x = net.stage("stem", net.conv("stem", x, 64, 7, stride=2, bias=self.stem_bias))
        x = net.stage("pool", net.pool(x, 3, 2))
        for number, stage in enumerate(self.stages):
            for index, block in enumerate(stage):
                name = f"stages.{number}.{index}"
                x = net.norm(f"{name}.norm", x)
                if block.projected:
                    net.conv(f"{name}.shortcut", x, block.channels_out, 1, block.stride, bias=self.bias)
                y = net.conv_norm(f"{name}.reduce", x, block.width, 1)
                y = net.conv_norm(f"{name}.spatial", y, block.width, 3, block.stride)
                x = net.stage(name, net.conv(f"{name}.restore", y, block.channels_out, 1, bias=self.bias))
        x = net.stage("norm", net.norm("norm", x))
        return net.linear("classifier", x, self.num_classes)


def _stages(depth: int, *, stride_in: Literal["first", "last"]) -> tuple[tuple[Bottleneck, ...], ...]:
    """Halves the map in the first block of stages 2 to 4, or in the last of stages 1 to 3."""
    if depth not in BLOCKS:
        raise ReproError(f"depth must be one of {', '.join(map(str, BLOCKS))}, not {depth!r}")
    stages, channels = [], 64
    for number, (blocks, width) in enumerate(zip(BLOCKS[depth], WIDTHS, strict=True)):
        stage = []
        for index in range(blocks):
            halves = index == 0 < number if stride_in == "first" else index == blocks - 1 and number < 3
            stage.append(Bottleneck(channels, width, 2 if halves else 1, projected=index == 0))
            channels = stage[-1].channels_out
        stages.append(tuple(stage))
    return tuple(stages)


def resnet(
    depth: int, *, num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.0, name: str = "resnet"
) -> ResNetSpec:
    """ResNet "1.5": the stride on the 3x3 convolution, where the paper has it on the first 1x1. depth: 50, 101, 152."""
    return ResNetSpec(
        name=name, family="resnet", source="arXiv:1512.03385, Table 1; stride as in torchvision", input_size=224,
        num_classes=num_classes, in_channels=in_channels, dropout=dropout, init="resnet",
        stages=_stages(depth, stride_in="first"),
    )  # fmt: skip


def resnet_v2(
    depth: int, *, num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.0, name: str = "resnet_v2"
) -> ResNetV2Spec:
    """The paper's, with the stride on the 3x3 convolution of the first block, as timm's resnetv2_50 has it."""
    return ResNetV2Spec(
        name=name, family="resnet_v2", source="arXiv:1603.05027, Figure 1(b); stem and stride as in timm",
        input_size=224, num_classes=num_classes, in_channels=in_channels, dropout=dropout, init="resnet",
        stages=_stages(depth, stride_in="first"), stem_bias=False, bias=False, pool_border="ignored",
    )  # fmt: skip


def resnet_v2_keras(
    depth: int, *, num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.0, name: str = "resnet_v2_keras"
) -> ResNetV2Spec:
    """keras.applications.ResNet50V2 and its deeper sisters: the last block of a stage halves the map."""
    return ResNetV2Spec(
        name=name, family="resnet_v2", source="keras.applications.resnet_v2", input_size=224,
        num_classes=num_classes, in_channels=in_channels, dropout=dropout, init="glorot_uniform",
        norm_eps=1.001e-5, norm_momentum=0.01,
        stages=_stages(depth, stride_in="last"), stem_bias=True, bias=True, pool_border="zeros",
    )  # fmt: skip


def resnet_v2_article(
    depth: int, *, num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.0, name: str = "resnet_v2_article"
) -> ResNetV2Spec:
    """The network of the article on birds: Keras's, with a bias in the stem alone and PyTorch's own settings."""
    return ResNetV2Spec(
        name=name, family="resnet_v2", source="article on ResNet50V2 in PyTorch (birds)", input_size=224,
        num_classes=num_classes, in_channels=in_channels, dropout=dropout, init="torch_default",
        stages=_stages(depth, stride_in="last"), stem_bias=True, bias=False, pool_border="ignored",
    )  # fmt: skip
