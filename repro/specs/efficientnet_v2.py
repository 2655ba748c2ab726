"""EfficientNetV2 (Tan and Le, "EfficientNetV2: Smaller Models and Faster Training", arXiv:2104.00298, Table 4; sizes
other than S from the authors' effnetv2_configs.py), and the network that an article prints under that name."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

from repro.errors import unknown
from repro.specs.base import Padding, Shape, Spec, Trace, checked_padding
from repro.specs.rounding import round8

# operator, expansion, stride of the first block, output channels, blocks; one row per stage. All kernels are 3x3, and
# all blocks except the fused ones have squeeze-and-excite
BASE = (
    ("fused", 1, 1, 16, 1),
    ("fused", 4, 2, 32, 2),
    ("fused", 4, 2, 48, 2),
    ("mbconv", 4, 2, 96, 3),
    ("mbconv", 6, 1, 112, 5),
    ("mbconv", 6, 2, 192, 8),
)
S = (
    ("fused", 1, 1, 24, 2),
    ("fused", 4, 2, 48, 4),
    ("fused", 4, 2, 64, 4),
    ("mbconv", 4, 2, 128, 6),
    ("mbconv", 6, 1, 160, 9),
    ("mbconv", 6, 2, 256, 15),
)
M = (
    ("fused", 1, 1, 24, 3),
    ("fused", 4, 2, 48, 5),
    ("fused", 4, 2, 80, 5),
    ("mbconv", 4, 2, 160, 7),
    ("mbconv", 6, 1, 176, 14),
    ("mbconv", 6, 2, 304, 18),
    ("mbconv", 6, 1, 512, 5),
)
L = (
    ("fused", 1, 1, 32, 4),
    ("fused", 4, 2, 64, 7),
    ("fused", 4, 2, 96, 7),
    ("mbconv", 4, 2, 192, 10),
    ("mbconv", 6, 1, 224, 19),
    ("mbconv", 6, 2, 384, 25),
    ("mbconv", 6, 1, 640, 7),
)
XL = (
    ("fused", 1, 1, 32, 4),
    ("fused", 4, 2, 64, 8),
    ("fused", 4, 2, 96, 8),
    ("mbconv", 4, 2, 192, 16),
    ("mbconv", 6, 1, 256, 24),
    ("mbconv", 6, 2, 512, 32),
    ("mbconv", 6, 1, 640, 8),
)


class Size(NamedTuple):
    """A published size: its table of stages, and how it is scaled."""

    table: tuple[tuple[str, int, int, int, int], ...]
    stem: int
    input_size: int  # pixels at evaluation; training uses smaller images
    dropout: float
    width: float = 1.0  # multiplier of the channels
    depth: float = 1.0  # multiplier of the blocks


SIZES = {
    "b0": Size(BASE, 32, 224, 0.2),
    "b1": Size(BASE, 32, 240, 0.2, depth=1.1),
    "b2": Size(BASE, 32, 260, 0.3, width=1.1, depth=1.2),
    "b3": Size(BASE, 32, 300, 0.3, width=1.2, depth=1.4),
    "s": Size(S, 24, 384, 0.2),
    "m": Size(M, 24, 480, 0.3),
    "l": Size(L, 32, 480, 0.4),
    "xl": Size(XL, 32, 512, 0.4),
}


@dataclass(frozen=True)
class Block:
    """MBConv: expand (1x1) -> depthwise (3x3, stride) -> squeeze-and-excite -> project (1x1).

    Fused: expand (3x3, stride) -> project (1x1), or a single 3x3 convolution, called project, without an expansion.
    """

    fused: bool
    channels_in: int
    expanded: int
    channels_out: int
    stride: int
    depth: float  # fraction of the network's blocks before this one; scales the drop-path rate

    @property
    def expands(self) -> bool:
        """Return whether the block has an expansion."""
        return self.expanded != self.channels_in

    @property
    def squeeze(self) -> int:
        """Channels inside squeeze-and-excite: a quarter of the block's input, not of the expanded channels."""
        return self.channels_in // 4

    @property
    def residual(self) -> bool:
        """Return whether the input is added to the output."""
        return self.stride == 1 and self.channels_in == self.channels_out


@dataclass(frozen=True, kw_only=True)
class EfficientNetV2Spec(Spec):
    """A stem, stages of fused and plain MBConv blocks, and a 1x1 convolution with pooling."""

    stem: int  # channels of the 3x3 convolution of stride 2
    stages: tuple[tuple[Block, ...], ...]
    head: int  # channels of the 1x1 convolution before pooling
    padding: Padding  # padding of the 3x3 convolutions
    # the changes of the article's network
    activation: Literal["silu", "relu"] = "silu"
    project_activation: Literal["none", "relu"] = "none"
    squeeze_bias: bool = True
    pool_before_head: bool = False

    def walk(self, net: Trace, x: Shape) -> Shape:
        x = net.stage("stem", net.conv_norm("stem", x, self.stem, 3, stride=2, padding=self.padding))
        for number, stage in enumerate(self.stages):
            for index, block in enumerate(stage):
                name = f"stages.{number}.{index}"
                x = net.stage(name, self._block(net, name, x, block))
        if self.pool_before_head:
            x = (x[0], 1, 1)
        x = net.stage("head", net.conv_norm("head", x, self.head, 1))
        return net.linear("classifier", x, self.num_classes)

    def _block(self, net: Trace, name: str, x: Shape, block: Block) -> Shape:
        if block.fused and not block.expands:
            return net.conv_norm(f"{name}.project", x, block.channels_out, 3, block.stride, padding=self.padding)
        if block.fused:
            x = net.conv_norm(f"{name}.expand", x, block.expanded, 3, block.stride, padding=self.padding)
        else:
            x = net.conv_norm(f"{name}.expand", x, block.expanded, 1)
            x = net.conv_norm(f"{name}.depthwise", x, block.expanded, 3, block.stride, block.expanded, self.padding)
            pooled = net.conv(f"{name}.se.reduce", (block.expanded, 1, 1), block.squeeze, 1, bias=self.squeeze_bias)
            net.conv(f"{name}.se.restore", pooled, block.expanded, 1, bias=self.squeeze_bias)
        return net.conv_norm(f"{name}.project", x, block.channels_out, 1)


def _stages(size: Size, stem: int) -> tuple[tuple[Block, ...], ...]:
    repeats = [math.ceil(blocks * size.depth) for *_, blocks in size.table]
    stages, channels, done = [], stem, 0
    for (operator, expansion, first_stride, unscaled, _), blocks in zip(size.table, repeats, strict=True):
        out, stage = round8(unscaled * size.width, keep=0), []
        for index in range(blocks):
            stride = 1 if index else first_stride
            stage.append(
                Block(operator == "fused", channels, expansion * channels, out, stride, (done + index) / sum(repeats))
            )
            channels = out
        stages.append(tuple(stage))
        done += blocks
    return tuple(stages)


def efficientnet_v2(
    size: str, *, padding: str = "symmetric", num_classes: int = 1000, in_channels: int = 3,
    dropout: float | None = None, drop_path: float = 0.2, norm_eps: float = 1e-3, name: str = "efficientnet_v2",
) -> EfficientNetV2Spec:  # fmt: skip
    """Return EfficientNetV2 with the authors' settings.

    size: b0, b1, b2, b3, s, m, l or xl; padding: "same", as in the authors' TensorFlow code and for the weights that
    they published, or "symmetric", as in torchvision; dropout: None for the rate that the size was trained with;
    norm_eps: 1e-5 for MindCV's networks and timm's symmetric ones. Raises ReproError for an unknown size or padding.
    """
    if size not in SIZES:
        raise unknown("size", size, SIZES)
    scaling = SIZES[size]
    stem = round8(scaling.stem * scaling.width, keep=0)
    return EfficientNetV2Spec(
        name=name, family="efficientnet_v2", source="arXiv:2104.00298, Table 4, and the authors' TensorFlow code",
        input_size=scaling.input_size, num_classes=num_classes, in_channels=in_channels,
        norm_eps=norm_eps, dropout=scaling.dropout if dropout is None else dropout, drop_path=drop_path,
        init="efficientnet", stem=stem, stages=_stages(scaling, stem), head=round8(1280 * scaling.width, keep=0),
        padding=checked_padding(padding),
    )  # fmt: skip


def efficientnet_v2_article(
    *, num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.2, drop_path: float = 0.2,
    name: str = "efficientnet_v2_article",
) -> EfficientNetV2Spec:  # fmt: skip
    """Return the network that an article on MNIST prints as EfficientNetV2-S in MindSpore.

    Unlike the paper's, it has ReLU instead of SiLU, a ReLU after every projection, squeeze-and-excite without bias, 128
    channels in the head, and pooling before the head. Unlike the article's, whose pooling window of 10x12 fits only
    images of about 320x384, it pools the whole map. The article uses 10 classes and 1 channel.
    """
    return EfficientNetV2Spec(
        name=name, family="efficientnet_v2", source="an article in MindSpore, after arXiv:2104.00298", input_size=320,
        num_classes=num_classes, in_channels=in_channels, norm_eps=1e-3, dropout=dropout, drop_path=drop_path,
        init="efficientnet", stem=24, stages=_stages(SIZES["s"], 24), head=128, padding="same",
        activation="relu", project_activation="relu", squeeze_bias=False, pool_before_head=True,
    )  # fmt: skip
