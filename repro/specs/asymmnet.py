"""AsymmNet (Yang et al., "AsymmNet: Towards ultralight convolution neural networks using asymmetrical bottlenecks",
arXiv:2104.07770) and MobileNetV3 (Howard et al., arXiv:1905.02244, Tables 1 and 2), whose table of blocks it shares.

An asymmetrical bottleneck makes the pointwise expansion cheaper: copies of its input, `asymmrate` on either side of the
expanded channels, replace some of them and widen the depthwise convolution. With asymmrate 0 it is MobileNetV3's
inverted residual.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from repro.errors import ReproError, unknown
from repro.specs.base import Padding, Shape, Spec, Trace, checked_padding
from repro.specs.rounding import round8

Activation = Literal["relu", "hard_swish"]

# kernel, expanded channels, output channels, squeeze-and-excite, activation, stride; one tuple per resolution
LARGE = (
    ((3, 16, 16, False, "relu", 1),),
    ((3, 64, 24, False, "relu", 2), (3, 72, 24, False, "relu", 1)),
    ((5, 72, 40, True, "relu", 2), (5, 120, 40, True, "relu", 1), (5, 120, 40, True, "relu", 1)),
    (
        (3, 240, 80, False, "hard_swish", 2),
        (3, 200, 80, False, "hard_swish", 1),
        (3, 184, 80, False, "hard_swish", 1),
        (3, 184, 80, False, "hard_swish", 1),
        (3, 480, 112, True, "hard_swish", 1),
        (3, 672, 112, True, "hard_swish", 1),
    ),
    (
        (5, 672, 160, True, "hard_swish", 2),
        (5, 960, 160, True, "hard_swish", 1),
        (5, 960, 160, True, "hard_swish", 1),
    ),
)
SMALL = (
    ((3, 16, 16, True, "relu", 2),),
    ((3, 72, 24, False, "relu", 2), (3, 88, 24, False, "relu", 1)),
    (
        (5, 96, 40, True, "hard_swish", 2),
        (5, 240, 40, True, "hard_swish", 1),
        (5, 240, 40, True, "hard_swish", 1),
        (5, 120, 48, True, "hard_swish", 1),
        (5, 144, 48, True, "hard_swish", 1),
    ),
    (
        (5, 288, 96, True, "hard_swish", 2),
        (5, 576, 96, True, "hard_swish", 1),
        (5, 576, 96, True, "hard_swish", 1),
    ),
)
TABLES = {"large": LARGE, "small": SMALL}
STRUCTURES = ("torchvision", "keras")


@dataclass(frozen=True)
class Bottleneck:
    """A bottleneck: expand (1x1) -> append copies -> depthwise (kxk, stride) -> squeeze-and-excite -> project (1x1)."""

    channels_in: int
    expanded: int  # as in the table, before copies replace some of the channels
    channels_out: int
    kernel: int
    stride: int
    squeeze: int  # channels inside squeeze-and-excite; 0: without
    activation: Activation
    asymmrate: int

    @property
    def expands(self) -> bool:
        """Return whether the block has a 1x1 expansion."""
        return self.expanded > max(1, self.asymmrate) * self.channels_in

    @property
    def pointwise(self) -> int:
        """Output channels of the 1x1 expansion, which lie between the copies."""
        return self.expanded - self.asymmrate * self.channels_in

    @property
    def depthwise(self) -> int:
        """Channels of the depthwise convolution."""
        return self.expanded + self.asymmrate * self.channels_in if self.expands else self.channels_in

    @property
    def residual(self) -> bool:
        """Return whether the input is added to the output."""
        return self.stride == 1 and self.channels_in == self.channels_out


@dataclass(frozen=True, kw_only=True)
class AsymmNetSpec(Spec):
    """AsymmNet and MobileNetV3: a stem, stages of bottlenecks, and a head with a hidden layer after pooling."""

    stem: int  # channels of the 3x3 convolution of stride 2
    stages: tuple[tuple[Bottleneck, ...], ...]
    last: int  # channels of the 1x1 convolution before pooling
    hidden: int  # channels of the 1x1 convolution after pooling
    hidden_bias: bool
    padding: Padding = None  # padding of the depthwise convolutions and of the stem

    def __post_init__(self) -> None:
        super().__post_init__()
        for number, stage in enumerate(self.stages):
            for index, block in enumerate(stage):
                if not block.expands and block.expanded != block.channels_in:
                    raise ReproError(
                        f"{self.name}: stages.{number}.{index} expands {block.channels_in} channels to "
                        f"{block.expanded}, all of which the {block.asymmrate * block.channels_in} copied channels of "
                        f"asymmrate {block.asymmrate} would replace; give a larger width or a smaller asymmrate"
                    )

    def walk(self, net: Trace, x: Shape) -> Shape:
        x = net.stage("stem", net.conv_norm("stem", x, self.stem, 3, stride=2, padding=self.padding))
        for number, stage in enumerate(self.stages):
            for index, block in enumerate(stage):
                name = f"stages.{number}.{index}"
                if block.expands:
                    net.conv_norm(f"{name}.expand", x, block.pointwise, 1)
                    x = (block.depthwise, *x[1:])
                x = net.conv_norm(
                    f"{name}.depthwise", x, block.depthwise, block.kernel, block.stride, block.depthwise, self.padding
                )
                if block.squeeze:
                    pooled = net.conv(f"{name}.se.reduce", (block.depthwise, 1, 1), block.squeeze, 1, bias=True)
                    net.conv(f"{name}.se.restore", pooled, block.depthwise, 1, bias=True)
                x = net.stage(name, net.conv_norm(f"{name}.project", x, block.channels_out, 1))
        x = net.stage("last", net.conv_norm("last", x, self.last, 1))
        x = net.stage("hidden", net.conv("hidden", (self.last, 1, 1), self.hidden, 1, bias=self.hidden_bias))
        return net.linear("classifier", x, self.num_classes)


def ceil8(channels: float) -> int:
    """Round up to a multiple of 8, as the code of AsymmNet does."""
    return math.ceil(channels / 8) * 8


def _stages(
    table: tuple, stem: int, width: float, asymmrate: int, divisible: Callable[[float], int],
    *, expands_rounded: bool = False,
) -> tuple[tuple[Bottleneck, ...], ...]:  # fmt: skip
    """Return the stages. expands_rounded: the table's ratio of expansion applies to the rounded channels of the input.

    Otherwise the expanded channels of the table are scaled.
    """
    stages, channels, unscaled = [], stem, 16
    for rows in table:
        stage = []
        for kernel, expanded, out, se, activation, stride in rows:
            scaled = channels * expanded / unscaled if expands_rounded else width * expanded
            block = Bottleneck(
                channels, divisible(scaled), divisible(width * out), kernel, stride, 0, activation, asymmrate
            )
            stage.append(replace(block, squeeze=divisible(block.depthwise // 4)) if se else block)
            channels, unscaled = block.channels_out, out
        stages.append(tuple(stage))
    return tuple(stages)


def _check_options(size: str, width: float) -> None:
    if size not in TABLES:
        raise unknown("size", size, TABLES)
    if not isinstance(width, (int, float)) or not 0.05 <= width <= 16:
        raise ReproError(f"width must be a number from 0.05 to 16, not {width!r}")


def asymmnet(
    size: str, *, width: float = 1.0, asymmrate: int = 1, num_classes: int = 1000, in_channels: int = 3,
    dropout: float = 0.2, name: str = "asymmnet",
) -> AsymmNetSpec:  # fmt: skip
    """Return AsymmNet as the authors' PyTorch code builds it.

    Their MXNet code ignores the width of the stem in its test for a residual block, and so loses the first shortcut at
    widths up to 0.5. size: "large" or "small"; width: multiplier of all channels except the 1,280 of the head;
    asymmrate: 0, 1 or 2. Raises ReproError for options out of range.
    """
    _check_options(size, width)
    if type(asymmrate) is not int or asymmrate not in (0, 1, 2):
        raise ReproError(f"asymmrate must be 0, 1 or 2, not {asymmrate!r}")
    stem = ceil8(16 * width)
    return AsymmNetSpec(
        name=name, family="asymmnet", source="arXiv:2104.07770, authors' PyTorch code", input_size=224,
        num_classes=num_classes, in_channels=in_channels, dropout=dropout, init="msra_prelu",
        stem=stem, stages=_stages(TABLES[size], stem, width, asymmrate, ceil8),
        last=ceil8(width * {"large": 960, "small": 576}[size]), hidden=1280, hidden_bias=False,
    )  # fmt: skip


def mobilenet_v3(
    size: str, *, width: float = 1.0, structure: str = "torchvision", padding: str = "symmetric",
    num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.2, norm_eps: float = 1e-3,
    name: str = "mobilenet_v3",
) -> AsymmNetSpec:  # fmt: skip
    """Return MobileNetV3, with torchvision's normalisation settings.

    size: "large" or "small"; width: multiplier of all channels; structure: "torchvision" or "keras", which differ at
    other widths than 1: Keras has a stem of 16 channels, expands the rounded channels, and does not narrow the head;
    padding: "same" for Keras's weights; norm_eps: 1e-5 for timm's weights. Raises ReproError for options out of range.
    """
    _check_options(size, width)
    if structure not in STRUCTURES:
        raise unknown("structure", structure, STRUCTURES)
    in_keras = structure == "keras"
    stem = 16 if in_keras else round8(16 * width)
    stages = _stages(TABLES[size], stem, width, 0, round8, expands_rounded=in_keras)
    head_width = max(1.0, width) if in_keras else width
    return AsymmNetSpec(
        name=name, family="mobilenet_v3", source="arXiv:1905.02244, Tables 1 and 2", input_size=224,
        num_classes=num_classes, in_channels=in_channels, dropout=dropout, init="kaiming_fan_out",
        norm_eps=norm_eps, norm_momentum=0.01, padding=checked_padding(padding),
        stem=stem, stages=stages, last=6 * stages[-1][-1].channels_out,
        hidden=round8(head_width * {"large": 1280, "small": 1024}[size]), hidden_bias=True,
    )  # fmt: skip
