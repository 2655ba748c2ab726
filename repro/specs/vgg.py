"""VGG (Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", arXiv:1409.1556,
Table 1), with torchvision's variants that normalise each convolution.
"""

from __future__ import annotations

from dataclasses import dataclass

from repro.errors import ReproError
from repro.specs.base import Shape, Spec, Trace

CONVOLUTIONS = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}  # of each stage, by depth: configurations D and E
WIDTHS = (64, 128, 256, 512, 512)
GRID = 7  # side of the map that the linear layers see
HIDDEN = 4096


@dataclass(frozen=True, kw_only=True)
class VGGSpec(Spec):
    """3x3 convolutions with a bias, a maximum over 2x2 after each stage, and three linear layers."""

    stages: tuple[tuple[int, ...], ...]  # channels of each convolution
    normalised: bool

    def walk(self, net: Trace, x: Shape) -> Shape:
        for number, stage in enumerate(self.stages):
            for index, channels in enumerate(stage):
                name = f"stages.{number}.{index}"
                x = net.conv(f"{name}.conv", x, channels, 3, bias=True)
                if self.normalised:
                    x = net.norm(f"{name}.norm", x)
                net.stage(name, x)
            x = net.pool(x, 2, 2, padding=0)
        net.stage("grid", (x[0], GRID, GRID))
        x = net.stage("hidden1", net.linear("hidden1", (x[0] * GRID * GRID,), HIDDEN))
        x = net.stage("hidden2", net.linear("hidden2", x, HIDDEN))
        return net.linear("classifier", x, self.num_classes)


def vgg(
    depth: int, *, normalised: bool = False, num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5,
    name: str = "vgg",
) -> VGGSpec:  # fmt: skip
    """depth: 16 or 19, the paper's configurations D and E; dropout: after either hidden layer.

    Any image that the five poolings leave something of is resized to the 7x7 positions of the linear layers by means
    of windows that meet or overlap, as in torchvision; at 224 pixels this changes nothing.
    """
    if depth not in CONVOLUTIONS:
        raise ReproError(f"depth must be one of {', '.join(map(str, CONVOLUTIONS))}, not {depth!r}")
    if not isinstance(normalised, bool):
        raise ReproError(f"normalised must be true or false, not {normalised!r}")
    return VGGSpec(
        name=name, family="vgg", source="arXiv:1409.1556, Table 1", input_size=224,
        num_classes=num_classes, in_channels=in_channels, dropout=dropout, init="kaiming_fan_out",
        stages=tuple((width,) * count for width, count in zip(WIDTHS, CONVOLUTIONS[depth], strict=True)),
        normalised=normalised,
    )  # fmt: skip
