"""The residual networks for CIFAR of He et al., "Identity Mappings in Deep Residual Networks" (arXiv:1603.05027), with
the shortcuts of its Table 1 and the activations of its Table 2.

A unit is after(addition(shortcut(x), branch(before(x)))).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from repro.errors import ReproError, unknown
from repro.specs.base import Shape, Spec, Trace

Steps = Literal["none", "norm", "relu", "norm_relu"]

# Table 2 (Figure 4): the steps before the branch, at its end, and after the addition
ACTIVATIONS: dict[str, tuple[Steps, Steps, Steps]] = {
    "original": ("none", "norm", "relu"),
    "bn_after": ("none", "none", "norm_relu"),
    "relu_before": ("none", "norm_relu", "none"),
    "relu_preact": ("relu", "norm", "none"),
    "full_preact": ("norm_relu", "none", "none"),
}
# steps before a branch -> steps after the first convolution
STEM: dict[Steps, Steps] = {"none": "norm_relu", "relu": "norm", "norm_relu": "none"}
# Table 1 (Figure 2): the addition of the input x and the branch F, with g(x) = sigmoid(1x1 convolution of x)
SHORTCUTS = (
    "original",  # x + F
    "scaled",  # x / 2 + F / 2
    "scaled_shortcut",  # x / 2 + F
    "exclusive_gating",  # (1 - g) x + g F
    "shortcut_gating",  # (1 - g) x + F
    "conv1x1",  # norm(1x1 convolution of x) + F
    "dropout",  # dropout(x) + F, at a rate of 0.5
)
WIDTHS = (16, 32, 64)  # channels inside the units of each stage
EXPANSION = {"basic": 1, "bottleneck": 4}
DEEPEST = 1202  # the deepest network of He et al. (arXiv:1512.03385)


@dataclass(frozen=True)
class Unit:
    """A residual unit: a branch of convolutions, and its addition to the input."""

    channels_in: int
    channels_out: int
    convs: tuple[tuple[int, int, int], ...]  # kernel, channels, stride
    match: Literal["none", "pad", "project"]  # how the input gets the shape of the branch
    addition: str  # one of SHORTCUTS
    shared: bool  # whether the steps before the branch also precede the shortcut

    @property
    def stride(self) -> int:
        """The stride of the unit, which its first convolution has."""
        return self.convs[0][2]


@dataclass(frozen=True, kw_only=True)
class ResNetCifarSpec(Spec):
    """A 3x3 convolution, three stages of units, and the steps that end a pre-activated network."""

    activation: str  # one of ACTIVATIONS
    shortcut_dropout: float
    stages: tuple[tuple[Unit, ...], ...]

    @property
    def before(self) -> Steps:
        """The steps before a branch."""
        return ACTIVATIONS[self.activation][0]

    @property
    def end(self) -> Steps:
        """The steps at the end of a branch."""
        return ACTIVATIONS[self.activation][1]

    @property
    def after(self) -> Steps:
        """The steps after the addition."""
        return ACTIVATIONS[self.activation][2]

    @property
    def stem_steps(self) -> Steps:
        """The steps after the first convolution: normalisation and ReLU, unless the first unit begins with them."""
        return STEM[self.before]

    @property
    def match_steps(self) -> Steps:
        """The steps after a projection, which is normalised where the branch ends with a normalisation."""
        return "norm" if "norm" in self.end else "none"

    def walk(self, net: Trace, x: Shape) -> Shape:
        def run(name: str, x: Shape, steps: Steps) -> Shape:
            return net.norm(f"{name}.norm", x) if "norm" in steps else x

        def conv(name: str, x: Shape, out: int, kernel: int, stride: int, steps: Steps) -> Shape:
            return run(name, net.conv(f"{name}.conv", x, out, kernel, stride), steps)

        x = net.stage("stem", conv("stem", x, 16, 3, 1, self.stem_steps))
        for number, stage in enumerate(self.stages):
            for index, unit in enumerate(stage):
                name = f"stages.{number}.{index}"
                y = x = run(f"{name}.before", x, self.before)
                if unit.match == "project":
                    x = conv(f"{name}.match", x, unit.channels_out, 1, unit.stride, self.match_steps)
                last = len(unit.convs) - 1
                for place, (kernel, out, stride) in enumerate(unit.convs):
                    steps = self.end if place == last else "norm_relu"
                    y = conv(f"{name}.branch.{place}", y, out, kernel, stride, steps)
                if "gating" in unit.addition:
                    net.conv(f"{name}.addition.gate", x, unit.channels_out, 1, bias=True)
                elif unit.addition == "conv1x1":
                    conv(f"{name}.addition.conv1x1", x, unit.channels_out, 1, 1, "norm")
                x = net.stage(name, run(f"{name}.after", y, self.after))
        x = net.stage("last", run("last", x, self.before))
        return net.linear("classifier", x, self.num_classes)


def _unit(block: str, channels: int, width: int, stride: int, shortcut: str, *, shared: bool) -> Unit:
    out = width * EXPANSION[block]
    convs = (
        ((3, width, stride), (3, width, 1))
        if block == "basic"
        else ((1, width, stride), (3, width, 1), (1, out, 1))  # the stride as in the authors' code
    )
    match: Literal["none", "pad", "project"] = "none"
    if channels != out:
        match = "pad" if block == "basic" else "project"
        if "gating" in shortcut or shortcut == "conv1x1":
            shortcut = "original"
    return Unit(channels, out, convs, match, shortcut, shared=shared)


def resnet_cifar(
    *, depth: int, block: str, activation: str = "original", shortcut: str = "original", num_classes: int = 10,
    in_channels: int = 3, dropout: float = 0.0, name: str = "resnet_cifar",
) -> ResNetCifarSpec:  # fmt: skip
    """Return a residual network for CIFAR.

    block: "basic", two 3x3 convolutions with a depth of 6n + 2, or "bottleneck", with a depth of 9n + 2. Where the
    channels grow, the input of a basic unit is padded with zeros (option A of arXiv:1512.03385), and that of a
    bottleneck is projected. activation: a key of ACTIVATIONS; shortcut: one of SHORTCUTS, which the paper defines for
    the original activation only. Only units that keep the shape have gates and 1x1 convolutions. Raises ReproError
    for a depth or a combination that is not defined.
    """
    options = (("block", block, EXPANSION), ("activation", activation, ACTIVATIONS), ("shortcut", shortcut, SHORTCUTS))
    for option, value, known in options:
        if value not in tuple(known):
            raise unknown(option, value, known)
    if shortcut != "original" and activation != "original":
        raise ReproError(
            f"the shortcut {shortcut} is defined for the original activation only, not for {activation}; "
            "leave one of the two out"
        )
    layers = 6 if block == "basic" else 9  # convolutions in three units, one of each stage
    if type(depth) is not int or not layers + 2 <= depth <= DEEPEST or (depth - 2) % layers:
        raise ReproError(
            f"depth must be {layers}n + 2 with {block} units, from {layers + 2} to {DEEPEST}, not {depth!r}"
        )
    stages, channels = [], 16
    for number, width in enumerate(WIDTHS):
        stage = []
        for index in range((depth - 2) // layers):
            stride = 2 if index == 0 < number else 1
            stage.append(_unit(block, channels, width, stride, shortcut, shared=index == 0))
            channels = stage[-1].channels_out
        stages.append(tuple(stage))
    return ResNetCifarSpec(
        name=name, family="resnet_cifar", source="arXiv:1603.05027, Tables 1 to 3", input_size=32,
        num_classes=num_classes, in_channels=in_channels, dropout=dropout, init="resnet",
        activation=activation, shortcut_dropout=0.5 if shortcut == "dropout" else 0.0, stages=tuple(stages),
    )  # fmt: skip
