"""RDNet (Kim, Heo and Han, "DenseNets Reloaded: Paradigm Shift Beyond ResNets and ViTs", arXiv:2403.19588), as the
authors' code builds it (github.com/naver-ai/rdnet).

Every block concatenates a few channels to its input. A transition before each stage except the first halves the
channels and, in the stages that the table lists, the map.
"""

from __future__ import annotations

from dataclasses import dataclass

from repro.errors import unknown
from repro.specs.base import Shape, Spec, Trace

# channels of the stem, growth of each stage, stages whose transition halves the map, drop-path rate
SIZES = {
    "tiny": (64, (64, 104, *(128,) * 4, 224), (1, 2, 6), 0.15),
    "small": (72, (64, 128, *(128,) * 7, 240, 240), (1, 2, 9), 0.35),
    "base": (120, (96, 128, *(168,) * 7, 336, 336), (1, 2, 9), 0.4),
    "large": (144, (128, 192, *(256,) * 8, 360, 360), (1, 2, 10), 0.5),
}
BLOCKS = 3  # blocks in every stage
EXPANSION = 4  # expanded channels per input channel of a block, whatever its growth
GATED = 2  # index of the first stage whose blocks have a gate
PATCH = 4  # side of the stem's patches in pixels


@dataclass(frozen=True)
class Block:
    """A dense block, whose output is appended to its input.

    depthwise 7x7 -> layer norm -> 1x1 -> GELU -> 1x1 -> gate -> layer scale -> drop path
    """

    channels_in: int
    expanded: int
    growth: int
    gate: bool
    depth: float  # from 0 at the first block to 1 at the last; scales the drop-path rate


@dataclass(frozen=True)
class Transition:
    """A transition between stages: layer norm -> convolution with kernel and stride `stride`."""

    channels_in: int
    channels_out: int
    stride: int


@dataclass(frozen=True)
class Stage:
    """An optional transition, and blocks."""

    transition: Transition | None
    blocks: tuple[Block, ...]

    @property
    def channels_out(self) -> int:
        """Channels after the last block."""
        return self.blocks[-1].channels_in + self.blocks[-1].growth


@dataclass(frozen=True, kw_only=True)
class RDNetSpec(Spec):
    """A stem of patches, stages of dense blocks, and a layer norm after pooling."""

    stem: int  # channels of the 4x4 convolution of stride 4
    stages: tuple[Stage, ...]
    head_eps: float = 1e-5  # eps of the layer norm after pooling; norm_eps is for all others

    @property
    def features(self) -> int:
        """Channels after the last stage."""
        return self.stages[-1].channels_out

    def walk(self, net: Trace, x: Shape) -> Shape:
        x = net.conv("stem.conv", x, self.stem, PATCH, PATCH, bias=True, padding=0)
        net.stage("stem", net.layer_norm("stem.norm", x))
        for number, stage in enumerate(self.stages):
            name = f"stages.{number}"
            if stage.transition:
                out, stride = stage.transition.channels_out, stage.transition.stride
                net.layer_norm(f"{name}.transition.norm", x)
                x = net.conv(f"{name}.transition.conv", x, out, stride, stride, bias=True, padding=0)
                net.stage(f"{name}.transition", x)
            for index, block in enumerate(stage.blocks):
                x = self._block(net, f"{name}.blocks.{index}", x, block)
            net.stage(name, x)
        x = net.stage("norm", net.layer_norm("norm", (self.features,)))
        return net.linear("classifier", x, self.num_classes)

    @staticmethod
    def _block(net: Trace, name: str, x: Shape, block: Block) -> Shape:
        y = net.conv(f"{name}.depthwise", x, block.channels_in, 7, groups=block.channels_in, bias=True)
        net.layer_norm(f"{name}.norm", y)
        y = net.conv(f"{name}.expand", y, block.expanded, 1, bias=True)
        y = net.conv(f"{name}.project", y, block.growth, 1, bias=True)
        if block.gate:
            net.conv(f"{name}.se.conv", (block.growth, 1, 1), block.growth, 1, bias=True)
        net.stage(name, net.layer_scale(f"{name}.scale", y))
        return (block.channels_in + block.growth, *x[1:])


def _floor8(channels: float) -> int:
    """Round down to a multiple of 8."""
    return int(channels / 8) * 8


def _stages(stem: int, growths: tuple[int, ...], halving: tuple[int, ...]) -> tuple[Stage, ...]:
    stages: list[Stage] = []
    channels, last = stem, len(growths) * BLOCKS - 1
    for number, growth in enumerate(growths):
        transition = None
        if number:
            transition = Transition(channels, _floor8(channels / 2), stride=2 if number in halving else 1)
            channels = transition.channels_out
        blocks = []
        for index in range(BLOCKS):
            depth = (number * BLOCKS + index) / last
            blocks.append(Block(channels, _floor8(channels * EXPANSION), growth, number >= GATED, depth))
            channels += growth
        stages.append(Stage(transition, tuple(blocks)))
    return tuple(stages)


def rdnet(
    size: str, *, num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.0, drop_path: float | None = None,
    name: str = "rdnet",
) -> RDNetSpec:  # fmt: skip
    """Return RDNet with the settings of the authors' ImageNet runs.

    size: "tiny", "small", "base" or "large", which was also published at 384 pixels; drop_path: rate of the last block,
    which grows linearly from 0 at the first one (default: the rate that the size was trained with). Raises ReproError
    for an unknown size.
    """
    if size not in SIZES:
        raise unknown("size", size, SIZES)
    stem, growths, halving, trained_drop_path = SIZES[size]
    return RDNetSpec(
        name=name, family="rdnet", source="arXiv:2403.19588, authors' code", input_size=224, num_classes=num_classes,
        in_channels=in_channels, dropout=dropout, drop_path=trained_drop_path if drop_path is None else drop_path,
        init="rdnet", norm_eps=1e-6, stem=stem, stages=_stages(stem, growths, halving),
    )  # fmt: skip
