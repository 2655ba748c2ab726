"""torchvision's names. Every network here computes what ours does, epsilons included.

Left out: ShuffleNet V2 as its authors have it and the `_same` EfficientNets, which torchvision lacks.
"""

from __future__ import annotations

from typing import Any, cast

from repro.specs import Spec
from repro.specs.asymmnet import AsymmNetSpec
from repro.specs.efficientnet_v2 import EfficientNetV2Spec
from repro.specs.vgg import VGGSpec
from repro.weights.layouts.base import CONV_NORM, Layout, place

RESNETS = {"resnet50": "resnet50", "resnet101": "resnet101", "resnet152": "resnet152"}
DENSENETS = {
    "densenet121": "densenet121",
    "densenet161": "densenet161",
    "densenet169": "densenet169",
    "densenet201": "densenet201",
}
VGGS = {"vgg16": "vgg16", "vgg16_bn": "vgg16_bn", "vgg19": "vgg19", "vgg19_bn": "vgg19_bn"}
SHUFFLENETS_V2 = {
    "shufflenet_v2_x0_5_torchvision": "shufflenet_v2_x0_5",
    "shufflenet_v2_x1_0_torchvision": "shufflenet_v2_x1_0",
    "shufflenet_v2_x1_5_torchvision": "shufflenet_v2_x1_5",
    "shufflenet_v2_x2_0_torchvision": "shufflenet_v2_x2_0",
}
MOBILENETS_V2 = {
    "mobilenet_v2": "mobilenet_v2",
    "mobilenet_v2_x1_4": "mobilenet_v2(width_mult=1.4)",
    "mobilenet_v2_x0_75": "mobilenet_v2(width_mult=0.75)",
    "mobilenet_v2_x0_5": "mobilenet_v2(width_mult=0.5)",
    "mobilenet_v2_x0_35": "mobilenet_v2(width_mult=0.35)",
}
MOBILENETS_V3 = {
    "mobilenet_v3_large": "mobilenet_v3_large",
    "mobilenet_v3_large_x0_75": "mobilenet_v3_large(width_mult=0.75)",
    "mobilenet_v3_large_x0_5": "mobilenet_v3_large(width_mult=0.5)",
    "mobilenet_v3_large_x0_35": "mobilenet_v3_large(width_mult=0.35)",
    "mobilenet_v3_small": "mobilenet_v3_small",
    "mobilenet_v3_small_x0_75": "mobilenet_v3_small(width_mult=0.75)",
    "mobilenet_v3_small_x0_5": "mobilenet_v3_small(width_mult=0.5)",
    "mobilenet_v3_small_x0_35": "mobilenet_v3_small(width_mult=0.35)",
}
EFFICIENTNETS_V2 = {
    "efficientnet_v2_s": "efficientnet_v2_s",
    "efficientnet_v2_m": "efficientnet_v2_m",
    "efficientnet_v2_l": "efficientnet_v2_l",
}


def resnet(name: str, spec: Spec) -> str:
    """conv1 and bn1 are the stem and, inside a block, the first of three; layers count from 1."""
    head, _, rest = name.partition(".")
    if head == "stem":
        kind, _, leaf = rest.partition(".")
        return f"{'conv1' if kind == 'conv' else 'bn1'}.{leaf}"
    if head != "stages":
        return f"fc.{rest}"
    number, index, part, kind, leaf = rest.split(".")
    block = f"layer{int(number) + 1}.{index}"
    if part == "shortcut":
        return f"{block}.downsample.{CONV_NORM[kind]}.{leaf}"
    position = ("reduce", "spatial", "restore").index(part) + 1
    return f"{block}.{'conv' if kind == 'conv' else 'bn'}{position}.{leaf}"


def densenet(name: str, spec: Spec) -> str:
    """Blocks and layers count from 1, and a transition belongs to the stage ahead of it."""
    head, _, rest = name.partition(".")
    if head == "stem":
        return f"features.{rest.replace('.', '0.')}"
    if head == "norm":
        return f"features.norm5.{rest}"
    if head != "stages":
        return name
    number, part, rest = rest.split(".", 2)
    if part == "transition":
        return f"features.transition{number}.{rest}"
    index, _, rest = rest.partition(".")
    return f"features.denseblock{int(number) + 1}.denselayer{int(index) + 1}.{rest}"


def vgg_features(name: str, spec: Spec) -> str:
    """One row of all operators, of which ReLU and the poolings hold no weights but a place."""
    _, number, index, kind, leaf = name.split(".")
    step = 3 if cast(VGGSpec, spec).normalised else 2
    return f"features.{place(spec, number, index) * step + int(number) + int(CONV_NORM[kind])}.{leaf}"


def vgg(name: str, spec: Spec) -> str:
    """The linear layers are a row of their own, with a ReLU and a dropout after each."""
    if name.startswith("stages."):
        return vgg_features(name, spec)
    head, _, leaf = name.partition(".")
    return f"classifier.{('hidden1', 'hidden2', 'classifier').index(head) * 3}.{leaf}"


def shufflenet_v2(name: str, spec: Spec) -> str:
    """Stages count from 2; a branch is one row, in which ReLU follows every 1x1 convolution."""
    head, _, rest = name.partition(".")
    if head == "classifier":
        return f"fc.{rest}"
    if head in ("stem", "last"):
        kind, _, leaf = rest.partition(".")
        return f"{'conv1' if head == 'stem' else 'conv5'}.{CONV_NORM[kind]}.{leaf}"
    number, index, side, part, kind, leaf = rest.split(".")
    starts = {"shortcut": (0, 2), "branch": (0, 3, 5)}[side]
    row = "branch1" if side == "shortcut" else "branch2"
    return f"stage{int(number) + 2}.{index}.{row}.{starts[int(part)] + int(CONV_NORM[kind])}.{leaf}"


def mobilenet_v2(name: str, spec: Spec) -> str:
    """features: the stem, all blocks in one row, the last convolution."""
    head, _, rest = name.partition(".")
    if head == "classifier":
        return f"classifier.1.{rest}"
    if head != "stages":
        return _end(head, rest, _blocks(spec) + 1)
    number, index, part, kind, leaf = rest.split(".")
    row = place(spec, number, index)
    position = ("expand", "depthwise", "project").index(part) - (row == 0)  # the first block does not expand
    # the projection has no activation, so that its two operators are not wrapped up in a sequence of three
    inner = position + int(CONV_NORM[kind]) if part == "project" else f"{position}.{CONV_NORM[kind]}"
    return f"features.{row + 1}.conv.{inner}.{leaf}"


def mobilenet_v3(name: str, spec: Spec) -> str:
    """As mobilenet_v2, but that each part of a block is a sequence, and the hidden layer a linear one."""
    head, _, rest = name.partition(".")
    if head in ("hidden", "classifier"):
        return f"classifier.{0 if head == 'hidden' else 3}.{rest}"
    if head != "stages":
        return _end(head, rest, _blocks(spec) + 1)
    number, index, part, kind, leaf = rest.split(".")
    block = cast(AsymmNetSpec, spec).stages[int(number)][int(index)]
    parts = ["expand"] * block.expands + ["depthwise"] + ["se"] * bool(block.squeeze) + ["project"]
    return f"features.{place(spec, number, index) + 1}.block.{parts.index(part)}.{_inner(kind)}.{leaf}"


def efficientnet_v2(name: str, spec: Spec) -> str:
    """features: the stem, the stages, the head."""
    stages = cast(EfficientNetV2Spec, spec).stages
    head, _, rest = name.partition(".")
    if head == "classifier":
        return f"classifier.1.{rest}"
    if head != "stages":
        return _end(head, rest, len(stages) + 1)
    number, index, part, kind, leaf = rest.split(".")
    block = stages[int(number)][int(index)]
    parts = ["expand"] * block.expands + ([] if block.fused else ["depthwise", "se"]) + ["project"]
    return f"features.{int(number) + 1}.{index}.block.{parts.index(part)}.{_inner(kind)}.{leaf}"


def _end(head: str, rest: str, last: int) -> str:
    """The first and the last convolution, which stand in one row with the blocks."""
    kind, _, leaf = rest.partition(".")
    return f"features.{0 if head == 'stem' else last}.{CONV_NORM[kind]}.{leaf}"


def _blocks(spec: Spec) -> int:
    return sum(len(stage) for stage in cast(Any, spec).stages)


def _inner(kind: str) -> str:
    """A convolution, a normalisation or a layer of squeeze-and-excite, inside its part of a block."""
    return {"reduce": "fc1", "restore": "fc2", **CONV_NORM}[kind]


LAYOUTS: tuple[Layout, ...] = (
    Layout("torchvision", "torch", RESNETS, resnet),
    Layout("torchvision", "torch", DENSENETS, densenet),
    Layout("torchvision", "torch", VGGS, vgg),
    Layout("torchvision", "torch", SHUFFLENETS_V2, shufflenet_v2),
    Layout("torchvision", "torch", MOBILENETS_V2, mobilenet_v2),
    Layout("torchvision", "torch", MOBILENETS_V3, mobilenet_v3, {"hidden.weight": ()}),
    Layout("torchvision", "torch", EFFICIENTNETS_V2, efficientnet_v2),
)
