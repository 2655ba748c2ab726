"""VGG (Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", arXiv:1409.1556,
Table 1), and torchvision's variants with batch normalisation after each convolution.
"""

from __future__ import annotations

from dataclasses import dataclass

from repro.errors import ReproError
from repro.specs.base import Shape, Spec, Trace

CONVOLUTIONS = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}  # depth -> convolutions of each stage; configurations D and E
WIDTHS = (64, 128, 256, 512, 512)  # channels of each stage
GRID = 7  # side of the map before the linear layers
HIDDEN = 4096  # features of the two hidden layers


@dataclass(frozen=True, kw_only=True)
class VGGSpec(Spec):
    """3x3 convolutions with a bias, 2x2 maximum pooling after each stage, and three linear layers."""

    stages: tuple[tuple[int, ...], ...]  # channels of each convolution
    normalised: bool  # batch normalisation after each convolution

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
    """Return VGG.

    depth: 16 or 19, the paper's configurations D and E; normalised: batch normalisation after each convolution;
    dropout: after both hidden layers. Adaptive mean pooling makes the map 7x7 for the linear layers, as in torchvision,
    so that any image of at least 32 pixels fits; at 224 pixels it changes nothing. Raises ReproError for another depth.
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
