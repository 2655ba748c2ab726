"""ResNet with bottlenecks (He et al., "Deep Residual Learning for Image Recognition", arXiv:1512.03385, Table 1) and
its pre-activated version 2 (He et al., "Identity Mappings in Deep Residual Networks", arXiv:1603.05027).

Packages build version 2 in different ways; docs/resnet.md compares them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from repro.errors import ReproError
from repro.specs.base import Shape, Spec, Trace

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}  # depth -> blocks of each stage
WIDTHS = (64, 128, 256, 512)  # channels inside the blocks of each stage


@dataclass(frozen=True)
class Bottleneck:
    """A bottleneck: reduce (1x1) -> spatial (3x3, stride) -> restore (1x1), added to the input or a projection."""

    channels_in: int
    width: int
    stride: int
    projected: bool

    @property
    def channels_out(self) -> int:
        """Channels of the output, four times those of the 3x3 convolution."""
        return 4 * self.width


@dataclass(frozen=True, kw_only=True)
class ResNetSpec(Spec):
    """Version 1: normalisation after each convolution, ReLU after the addition."""

    stages: tuple[tuple[Bottleneck, ...], ...]
    bias: bool  # whether the convolutions have a bias
    strided: Literal["reduce", "spatial"]  # the convolution of a block that halves the map

    def walk(self, net: Trace, x: Shape) -> Shape:
        x = net.stage("stem", net.conv_norm("stem", x, 64, 7, stride=2, bias=self.bias))
        x = net.stage("pool", net.pool(x, 3, 2))
        for number, stage in enumerate(self.stages):
            for index, block in enumerate(stage):
                name = f"stages.{number}.{index}"
                first, second = self.strides(block)
                y = net.conv_norm(f"{name}.reduce", x, block.width, 1, first, bias=self.bias)
                y = net.conv_norm(f"{name}.spatial", y, block.width, 3, second, bias=self.bias)
                y = net.conv_norm(f"{name}.restore", y, block.channels_out, 1, bias=self.bias)
                if block.projected:
                    net.conv_norm(f"{name}.shortcut", x, block.channels_out, 1, block.stride, bias=self.bias)
                x = net.stage(name, y)
        return net.linear("classifier", x, self.num_classes)

    def strides(self, block: Bottleneck) -> tuple[int, int]:
        """Return the strides of the block's first two convolutions."""
        return (block.stride, 1) if self.strided == "reduce" else (1, block.stride)


@dataclass(frozen=True, kw_only=True)
class ResNetV2Spec(Spec):
    """Version 2: normalisation and ReLU before each convolution, nothing after the addition."""

    stages: tuple[tuple[Bottleneck, ...], ...]
    stem_bias: bool
    bias: bool  # whether each block's last convolution and its projection have a bias
    pool_border: Literal["ignored", "zeros"]  # how the stem's maximum pooling treats its padding

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


def _stages(depth: int, *, halving_block: Literal["first", "last"]) -> tuple[tuple[Bottleneck, ...], ...]:
    """Return the stages, with the map halved in the first block of stages 2 to 4, or in the last of stages 1 to 3."""
    if depth not in BLOCKS:
        raise ReproError(f"depth must be one of {', '.join(map(str, BLOCKS))}, not {depth!r}")
    stages, channels = [], 64
    for number, (blocks, width) in enumerate(zip(BLOCKS[depth], WIDTHS, strict=True)):
        stage = []
        for index in range(blocks):
            halves = index == 0 < number if halving_block == "first" else index == blocks - 1 and number < 3
            stage.append(Bottleneck(channels, width, 2 if halves else 1, projected=index == 0))
            channels = stage[-1].channels_out
        stages.append(tuple(stage))
    return tuple(stages)


def resnet(
    depth: int, *, num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.0, name: str = "resnet"
) -> ResNetSpec:
    """Return ResNet "1.5", with the stride on the 3x3 convolution, where the paper has it on the first 1x1.

    depth: 50, 101 or 152. Raises ReproError for another depth.
    """
    return ResNetSpec(
        name=name, family="resnet", source="arXiv:1512.03385, Table 1; stride as in torchvision", input_size=224,
        num_classes=num_classes, in_channels=in_channels, dropout=dropout, init="resnet",
        stages=_stages(depth, halving_block="first"), bias=False, strided="spatial",
    )  # fmt: skip


def resnet_keras(
    depth: int, *, num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.0, name: str = "resnet_keras"
) -> ResNetSpec:
    """Return keras.applications.ResNet50, ResNet101 or ResNet152: the paper's strides, and biases.

    depth: 50, 101 or 152. Raises ReproError for another depth.
    """
    return ResNetSpec(
        name=name, family="resnet", source="keras.applications.resnet", input_size=224,
        num_classes=num_classes, in_channels=in_channels, dropout=dropout, init="glorot_uniform",
        norm_eps=1.001e-5, norm_momentum=0.01,
        stages=_stages(depth, halving_block="first"), bias=True, strided="reduce",
    )  # fmt: skip


def resnet_v2(
    depth: int, *, num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.0, name: str = "resnet_v2"
) -> ResNetV2Spec:
    """Return the paper's ResNet V2, with the stride on the first block's 3x3 convolution, as in timm's resnetv2_50.

    depth: 50, 101 or 152. Raises ReproError for another depth.
    """
    return ResNetV2Spec(
        name=name, family="resnet_v2", source="arXiv:1603.05027, Figure 1(b); stem and stride as in timm",
        input_size=224, num_classes=num_classes, in_channels=in_channels, dropout=dropout, init="resnet",
        stages=_stages(depth, halving_block="first"), stem_bias=False, bias=False, pool_border="ignored",
    )  # fmt: skip


def resnet_v2_keras(
    depth: int, *, num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.0, name: str = "resnet_v2_keras"
) -> ResNetV2Spec:
    """Return keras.applications.ResNet50V2, ResNet101V2 or ResNet152V2, where the last block of a stage halves the map.

    depth: 50, 101 or 152. Raises ReproError for another depth.
    """
    return ResNetV2Spec(
        name=name, family="resnet_v2", source="keras.applications.resnet_v2", input_size=224,
        num_classes=num_classes, in_channels=in_channels, dropout=dropout, init="glorot_uniform",
        norm_eps=1.001e-5, norm_momentum=0.01,
        stages=_stages(depth, halving_block="last"), stem_bias=True, bias=True, pool_border="zeros",
    )  # fmt: skip


def resnet_v2_article(
    depth: int, *, num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.0, name: str = "resnet_v2_article"
) -> ResNetV2Spec:
    """Return the network of the article on birds: that of Keras, with a bias only in the stem and PyTorch's defaults.

    depth: 50, 101 or 152. Raises ReproError for another depth.
    """
    return ResNetV2Spec(
        name=name, family="resnet_v2", source="article on ResNet50V2 in PyTorch (birds)", input_size=224,
        num_classes=num_classes, in_channels=in_channels, dropout=dropout, init="torch_default",
        stages=_stages(depth, halving_block="last"), stem_bias=True, bias=False, pool_border="ignored",
    )  # fmt: skip
