"""MobileNetV2 (Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", arXiv:1801.04381, Table 2)."""

from __future__ import annotations

from dataclasses import dataclass

from repro.errors import ReproError
from repro.specs.base import Padding, Shape, Spec, Trace, checked_padding
from repro.specs.rounding import round8

# expansion, output channels, blocks, stride of the first block; one row per sequence of Table 2
TABLE = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


@dataclass(frozen=True)
class InvertedResidual:
    """An inverted residual: expand (1x1) -> depthwise (3x3, stride) -> project (1x1, without activation).

    An expansion of 1 means that the first convolution is missing.
    """

    channels_in: int
    expansion: int
    channels_out: int
    stride: int

    @property
    def expanded(self) -> int:
        """Channels of the depthwise convolution."""
        return self.expansion * self.channels_in

    @property
    def residual(self) -> bool:
        """Return whether the input is added to the output."""
        return self.stride == 1 and self.channels_in == self.channels_out


@dataclass(frozen=True, kw_only=True)
class MobileNetV2Spec(Spec):
    """A stem, stages of inverted residuals, and a 1x1 convolution before pooling."""

    stem: int  # channels of the 3x3 convolution of stride 2
    stages: tuple[tuple[InvertedResidual, ...], ...]
    last: int  # channels of the 1x1 convolution before pooling
    padding: Padding  # padding of the 3x3 convolutions

    def walk(self, net: Trace, x: Shape) -> Shape:
        x = net.stage("stem", net.conv_norm("stem", x, self.stem, 3, stride=2, padding=self.padding))
        for number, stage in enumerate(self.stages):
            for index, block in enumerate(stage):
                name = f"stages.{number}.{index}"
                if block.expansion > 1:
                    x = net.conv_norm(f"{name}.expand", x, block.expanded, 1)
                x = net.conv_norm(f"{name}.depthwise", x, block.expanded, 3, block.stride, block.expanded, self.padding)
                x = net.stage(name, net.conv_norm(f"{name}.project", x, block.channels_out, 1))
        x = net.stage("last", net.conv_norm("last", x, self.last, 1))
        return net.linear("classifier", x, self.num_classes)


def mobilenet_v2(
    *, width: float = 1.0, padding: str = "symmetric", num_classes: int = 1000, in_channels: int = 3,
    dropout: float = 0.2, norm_eps: float = 1e-5, name: str = "mobilenet_v2",
) -> MobileNetV2Spec:  # fmt: skip
    """Return MobileNetV2, with torchvision's normalisation settings.

    width: multiplier of all channels; the 1,280 of the last convolution grow with it but never shrink; padding,
    norm_eps: "same" and 1e-3 for Keras's weights. Raises ReproError for a width out of range and an unknown padding.
    """
    if not isinstance(width, (int, float)) or not 0.05 <= width <= 16:
        raise ReproError(f"width must be a number from 0.05 to 16, not {width!r}")
    stem = channels = round8(32 * width)
    stages = []
    for expansion, out, blocks, stride in TABLE:
        stage = []
        for index in range(blocks):
            stage.append(InvertedResidual(channels, expansion, round8(out * width), 1 if index else stride))
            channels = stage[-1].channels_out
        stages.append(tuple(stage))
    return MobileNetV2Spec(
        name=name, family="mobilenet_v2", source="arXiv:1801.04381, Table 2", input_size=224,
        num_classes=num_classes, in_channels=in_channels, norm_eps=norm_eps, dropout=dropout, init="kaiming_fan_out",
        padding=checked_padding(padding), stem=stem, stages=tuple(stages), last=round8(1280 * max(1.0, width)),
    )  # fmt: skip
