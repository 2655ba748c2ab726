"""ShuffleNet V2 (Ma et al., "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design",
arXiv:1807.11164, Table 5), in the two structures of this name.

A unit passes half of the channels on and computes the others; a shuffle between two units mixes the halves.
- "authors": megvii-model/ShuffleNet-Series. Where the map is halved, the shortcut keeps its number of channels; the
  shuffle is at the start of the other units; the classifier has no bias. It has the MACs of the paper.
- "torchvision": both branches have half of the output channels in every unit; the shuffle is at the end of every unit;
  the classifier has a bias.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from repro.errors import unknown
from repro.specs.base import Shape, Spec, Trace

Structure = Literal["authors", "torchvision"]

# width: channels of stages 2, 3 and 4, and of the 1x1 convolution after them
CHANNELS = {
    0.5: (48, 96, 192, 1024),
    1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2.0: (244, 488, 976, 2048),
}
STEM = 24  # channels of the first convolution
REPEATS = (4, 8, 4)  # units of each stage, the first of which halves the map
SETTINGS = {  # initialisation and source
    "authors": ("shufflenet", "arXiv:1807.11164 Table 5, authors' code"),
    "torchvision": ("torch_default", "arXiv:1807.11164 Table 5, torchvision's code"),
}


@dataclass(frozen=True)
class Unit:
    """A shortcut and a branch (1x1 -> depthwise 3x3 -> 1x1), concatenated in this order.

    Stride 1: the shortcut passes half of the input channels on, and the branch computes on the other half. Stride 2:
    both compute on the whole input, the shortcut by a depthwise and a 1x1 convolution.
    """

    channels_in: int
    channels_out: int
    stride: int
    shortcut: int  # output channels of the shortcut

    @property
    def branch_in(self) -> int:
        """Input channels of the branch."""
        return self.channels_in if self.stride == 2 else self.channels_in // 2

    @property
    def middle(self) -> int:
        """Channels of the branch's depthwise convolution."""
        return self.channels_out // 2

    @property
    def branch_out(self) -> int:
        """Output channels of the branch."""
        return self.channels_out - self.shortcut


@dataclass(frozen=True, kw_only=True)
class ShuffleNetV2Spec(Spec):
    """A stem with maximum pooling, stages of shuffle units, and a 1x1 convolution before pooling."""

    structure: Structure
    stem: int  # channels of the 3x3 convolution of stride 2
    stages: tuple[tuple[Unit, ...], ...]
    last: int  # channels of the 1x1 convolution before pooling

    @property
    def classifier_bias(self) -> bool:
        """Return whether the classifier has a bias."""
        return self.structure == "torchvision"

    def walk(self, net: Trace, x: Shape) -> Shape:
        x = net.stage("stem", net.conv_norm("stem", x, self.stem, 3, stride=2))
        x = net.pool(x, 3, 2)
        for number, stage in enumerate(self.stages):
            for index, unit in enumerate(stage):
                name = f"stages.{number}.{index}"
                if unit.stride == 2:
                    y = net.conv_norm(f"{name}.shortcut.0", x, unit.channels_in, 3, 2, groups=unit.channels_in)
                    net.conv_norm(f"{name}.shortcut.1", y, unit.shortcut, 1)
                y = net.conv_norm(f"{name}.branch.0", (unit.branch_in, *x[1:]), unit.middle, 1)
                y = net.conv_norm(f"{name}.branch.1", y, unit.middle, 3, unit.stride, groups=unit.middle)
                y = net.conv_norm(f"{name}.branch.2", y, unit.branch_out, 1)
                x = net.stage(name, (unit.channels_out, *y[1:]))
        x = net.stage("last", net.conv_norm("last", x, self.last, 1))
        return net.linear("classifier", x[:1], self.num_classes, bias=self.classifier_bias)


def shufflenet_v2(
    structure: Structure, *, width: float = 1.0, num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.0,
    name: str = "shufflenet_v2",
) -> ShuffleNetV2Spec:  # fmt: skip
    """Return ShuffleNet V2 `width`x.

    structure: "authors" or "torchvision"; width: 0.5, 1.0, 1.5 or 2.0, whose channels are published; dropout: 0.2 in
    the authors' network of width 2.0, otherwise 0. Raises ReproError for an unknown structure or width.
    """
    if structure not in SETTINGS:
        raise unknown("structure", structure, SETTINGS)
    if not isinstance(width, (int, float)) or width not in CHANNELS:
        raise unknown("width of ShuffleNet V2", width, map(str, CHANNELS))
    init, source = SETTINGS[structure]
    *stage_channels, last = CHANNELS[width]
    stages, channels_in = [], STEM
    for repeats, out in zip(REPEATS, stage_channels, strict=True):
        shortcut = channels_in if structure == "authors" else out // 2
        units = [Unit(channels_in, out, 2, shortcut)] + [Unit(out, out, 1, out // 2)] * (repeats - 1)
        stages.append(tuple(units))
        channels_in = out
    return ShuffleNetV2Spec(
        name=name, family="shufflenet_v2", source=source, input_size=224, num_classes=num_classes,
        in_channels=in_channels, dropout=dropout, init=init,
        structure=structure, stem=STEM, stages=tuple(stages), last=last,
    )  # fmt: skip
