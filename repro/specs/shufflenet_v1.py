"""ShuffleNet V1 (Zhang et al., "ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices",
arXiv:1707.01083, Table 1), with the block of the authors' code (megvii-model/ShuffleNet-Series).

A unit is a bottleneck whose two pointwise convolutions are grouped; a shuffle of the channels between them mixes the
groups. Where the map is halved, the averaged input becomes the first channels of the output.
"""

from __future__ import annotations

from dataclasses import dataclass

from repro.errors import ReproError
from repro.specs.base import Shape, Spec, Trace

# groups: channels of stages 2, 3 and 4 at width 1
CHANNELS = {
    1: (144, 288, 576),
    2: (200, 400, 800),
    3: (240, 480, 960),
    4: (272, 544, 1088),
    8: (384, 768, 1536),
}
STEM = 24  # channels of the first convolution at width 1
# (groups, width) -> channels where the authors' code deviates from STEM * width; 24 yields the published 292M MACs
STEMS = {(8, 0.5): 16, (3, 1.5): 24, (8, 1.5): 24}
REPEATS = (4, 8, 4)  # units of each stage, the first of which halves the map


@dataclass(frozen=True)
class Unit:
    """A unit: reduce (1x1, grouped) -> depthwise (3x3, stride) -> shuffle -> expand (1x1, grouped)."""

    channels_in: int
    middle: int  # channels of the bottleneck
    channels_out: int
    stride: int  # 1: the input is added; 2: the averaged input is concatenated with the branch
    reduce_groups: int  # 1 in the first unit of the network, whose input has few channels
    groups: int

    @property
    def branch(self) -> int:
        """Output channels of the branch."""
        return self.channels_out - (self.channels_in if self.stride == 2 else 0)


@dataclass(frozen=True, kw_only=True)
class ShuffleNetV1Spec(Spec):
    """A stem with maximum pooling, and stages of shuffle units."""

    stem: int  # channels of the 3x3 convolution of stride 2
    stages: tuple[tuple[Unit, ...], ...]

    def walk(self, net: Trace, x: Shape) -> Shape:
        x = net.stage("stem", net.conv_norm("stem", x, self.stem, 3, stride=2))
        x = net.pool(x, 3, 2)
        for number, stage in enumerate(self.stages):
            for index, unit in enumerate(stage):
                name = f"stages.{number}.{index}"
                y = net.conv_norm(f"{name}.reduce", x, unit.middle, 1, groups=unit.reduce_groups)
                y = net.conv_norm(f"{name}.depthwise", y, unit.middle, 3, unit.stride, groups=unit.middle)
                y = net.conv_norm(f"{name}.expand", y, unit.branch, 1, groups=unit.groups)
                x = net.stage(name, (unit.channels_out, *y[1:]))
        return net.linear("classifier", x[:1], self.num_classes, bias=False)


def shufflenet_v1(
    groups: int, *, width: float = 1.0, num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.0,
    name: str = "shufflenet_v1",
) -> ShuffleNetV1Spec:  # fmt: skip
    """Return ShuffleNet V1 `width`x (g = `groups`).

    groups: 1, 2, 3, 4 or 8; width: multiplier of all channels. Raises ReproError where scaled channels are not integers
    or cannot be divided into the groups, since neither the paper nor the authors' code defines a rounding.
    """
    if type(groups) is not int or groups not in CHANNELS:
        raise ReproError(f"groups must be 1, 2, 3, 4 or 8, not {groups!r}")
    if not isinstance(width, (int, float)) or not 0.05 <= width <= 16:
        raise ReproError(f"width must be a number from 0.05 to 16, not {width!r}")
    stem = STEMS.get((groups, width), STEM * width)
    first = CHANNELS[groups][0] * width
    for place, channels, divisor in (
        ("stem", stem, 1),
        ("bottleneck of stage 2", first / 4, groups),
        ("first branch of stage 2", first - stem, groups),
    ):
        if channels % divisor:
            raise ReproError(
                f"{name}: width {width} is not defined for {groups} groups: the {place} would have {channels:g} "
                f"channels, which is not a multiple of {divisor}; give another width or other groups"
            )
    stages, channels_in = [], int(stem)
    for number, (repeats, channels) in enumerate(zip(REPEATS, CHANNELS[groups], strict=True)):
        out, units = int(channels * width), []
        for index in range(repeats):
            reduce_groups = 1 if number == index == 0 else groups
            units.append(Unit(channels_in, out // 4, out, 2 if index == 0 else 1, reduce_groups, groups))
            channels_in = out
        stages.append(tuple(units))
    return ShuffleNetV1Spec(
        name=name, family="shufflenet_v1", source="arXiv:1707.01083 Table 1, block of the authors' code",
        input_size=224, num_classes=num_classes, in_channels=in_channels, dropout=dropout, init="shufflenet",
        stem=int(stem), stages=tuple(stages),
    )  # fmt: skip
