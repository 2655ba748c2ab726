"""DenseNet (Huang et al., "Densely Connected Convolutional Networks", arXiv:1608.06993, Table 1), in the form
with bottlenecks and compression that the paper calls DenseNet-BC."""

from __future__ import annotations

from dataclasses import dataclass

from repro.errors import ReproError
from repro.specs.base import Shape, Spec, Trace

# depth: channels of the stem, growth rate, blocks in each stage
DEPTHS = {
    121: (64, 32, (6, 12, 24, 16)),
    161: (96, 48, (6, 12, 36, 24)),
    169: (64, 32, (6, 12, 32, 32)),
    201: (64, 32, (6, 12, 48, 32)),
}
BOTTLENECK = 4  # channels of the bottleneck per channel of growth


@dataclass(frozen=True)
class Block:
    """A dense block: norm -> ReLU -> 1x1 -> norm -> ReLU -> 3x3, whose output is appended to the input."""

    channels_in: int
    bottleneck: int
    growth: int


@dataclass(frozen=True)
class Stage:
    """An optional transition, which halves channels and map, and dense blocks."""

    transition: tuple[int, int] | None  # channels before and after norm -> ReLU -> 1x1 -> mean of 2x2
    blocks: tuple[Block, ...]

    @property
    def channels_out(self) -> int:
        """Channels after the last block."""
        return self.blocks[-1].channels_in + self.blocks[-1].growth


@dataclass(frozen=True, kw_only=True)
class DenseNetSpec(Spec):
    """A stem with maximum pooling, stages of dense blocks, and a last normalisation before pooling."""

    stem: int  # channels of the 7x7 convolution of stride 2
    stages: tuple[Stage, ...]

    @property
    def features(self) -> int:
        """Channels after the last stage."""
        return self.stages[-1].channels_out

    def walk(self, net: Trace, x: Shape) -> Shape:
        x = net.stage("stem", net.conv_norm("stem", x, self.stem, 7, stride=2))
        x = net.pool(x, 3, 2, padding=1)
        for number, stage in enumerate(self.stages):
            name = f"stages.{number}"
            if stage.transition:
                net.norm(f"{name}.transition.norm", x)
                x = net.conv(f"{name}.transition.conv", x, stage.transition[1], 1)
                x = net.stage(f"{name}.transition", net.pool(x, 2, 2, padding=0))
            for index, block in enumerate(stage.blocks):
                x = self._block(net, f"{name}.blocks.{index}", x, block)
            net.stage(name, x)
        net.stage("norm", net.norm("norm", x))
        return net.linear("classifier", (self.features,), self.num_classes)

    @staticmethod
    def _block(net: Trace, name: str, x: Shape, block: Block) -> Shape:
        net.norm(f"{name}.norm1", x)
        y = net.norm(f"{name}.norm2", net.conv(f"{name}.conv1", x, block.bottleneck, 1))
        net.stage(name, net.conv(f"{name}.conv2", y, block.growth, 3))
        return (block.channels_in + block.growth, *x[1:])


def _stages(stem: int, growth: int, counts: tuple[int, ...]) -> tuple[Stage, ...]:
    stages: list[Stage] = []
    channels = stem
    for number, count in enumerate(counts):
        transition = (channels, channels // 2) if number else None
        start = transition[1] if transition else channels
        blocks = tuple(Block(start + growth * index, BOTTLENECK * growth, growth) for index in range(count))
        stages.append(Stage(transition, blocks))
        channels = stages[-1].channels_out
    return tuple(stages)


def densenet(
    depth: int, *, num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.0, norm_eps: float = 1e-5,
    name: str = "densenet",
) -> DenseNetSpec:  # fmt: skip
    """Return DenseNet for ImageNet.

    depth: 121, 161, 169 or 201; dropout: before the classifier. The paper has dropout inside the blocks, and only on
    data sets without augmentation, which excludes ImageNet. norm_eps: 1.001e-5 for Keras's weights. Raises ReproError
    for another depth.
    """
    if depth not in DEPTHS:
        raise ReproError(f"depth must be one of {', '.join(map(str, DEPTHS))}, not {depth!r}")
    stem, growth, counts = DEPTHS[depth]
    return DenseNetSpec(
        name=name, family="densenet", source="arXiv:1608.06993, Table 1", input_size=224, num_classes=num_classes,
        in_channels=in_channels, norm_eps=norm_eps, dropout=dropout, init="resnet",
        stem=stem, stages=_stages(stem, growth, counts),
    )  # fmt: skip
