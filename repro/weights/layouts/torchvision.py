"""The names of weights in torchvision. Its networks compute exactly what this repository's do.

Not covered, because torchvision lacks them: the authors' version of ShuffleNet V2, and the `_same` EfficientNets.
"""

from __future__ import annotations

from typing import Any, cast

from repro.specs import Spec
from repro.specs.asymmnet import AsymmNetSpec
from repro.specs.efficientnet_v2 import EfficientNetV2Spec
from repro.specs.vgg import VGGSpec
from repro.weights.layouts.base import CONV_NORM, Layout, block_index

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
    "mobilenet_v2_x1_3": "mobilenet_v2(width_mult=1.3)",
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
    """Return torchvision's name of a weight: layers count from 1, and so do the convolutions of a block."""
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
    """Return torchvision's name of a weight.

    Blocks and layers count from 1, and a transition has the number of the stage before it.
    """
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
    """Return torchvision's name of a weight in a convolution or its normalisation.

    All operators form one sequence, in which ReLUs and poolings count as well.
    """
    _, number, index, kind, leaf = name.split(".")
    step = 3 if cast(VGGSpec, spec).normalised else 2
    return f"features.{block_index(spec, number, index) * step + int(number) + int(CONV_NORM[kind])}.{leaf}"


def vgg(name: str, spec: Spec) -> str:
    """Return torchvision's name of a weight. The linear layers form a sequence with a ReLU and a dropout after each."""
    if name.startswith("stages."):
        return vgg_features(name, spec)
    head, _, leaf = name.partition(".")
    return f"classifier.{('hidden1', 'hidden2', 'classifier').index(head) * 3}.{leaf}"


def shufflenet_v2(name: str, spec: Spec) -> str:
    """Return torchvision's name of a weight.

    Stages count from 2. A branch is one sequence, in which a ReLU follows the normalisation of each 1x1 convolution.
    """
    head, _, rest = name.partition(".")
    if head == "classifier":
        return f"fc.{rest}"
    if head in ("stem", "last"):
        kind, _, leaf = rest.partition(".")
        return f"{'conv1' if head == 'stem' else 'conv5'}.{CONV_NORM[kind]}.{leaf}"
    number, index, side, part, kind, leaf = rest.split(".")
    starts = {"shortcut": (0, 2), "branch": (0, 3, 5)}[side]
    branch = "branch1" if side == "shortcut" else "branch2"
    return f"stage{int(number) + 2}.{index}.{branch}.{starts[int(part)] + int(CONV_NORM[kind])}.{leaf}"


def mobilenet_v2(name: str, spec: Spec) -> str:
    """Return torchvision's name of a weight. The stem, all blocks and the last convolution form one sequence."""
    head, _, rest = name.partition(".")
    if head == "classifier":
        return f"classifier.1.{rest}"
    if head != "stages":
        return _end(head, rest, _blocks(spec) + 1)
    number, index, part, kind, leaf = rest.split(".")
    block = block_index(spec, number, index)
    position = ("expand", "depthwise", "project").index(part) - (block == 0)  # the first block does not expand
    # the two operators of the projection, which has no activation, do not form a sequence of their own
    inner = position + int(CONV_NORM[kind]) if part == "project" else f"{position}.{CONV_NORM[kind]}"
    return f"features.{block + 1}.conv.{inner}.{leaf}"


def mobilenet_v3(name: str, spec: Spec) -> str:
    """Return torchvision's name of a weight: as in MobileNetV2, but each component of a block is a sequence."""
    head, _, rest = name.partition(".")
    if head in ("hidden", "classifier"):
        return f"classifier.{0 if head == 'hidden' else 3}.{rest}"
    if head != "stages":
        return _end(head, rest, _blocks(spec) + 1)
    number, index, part, kind, leaf = rest.split(".")
    block = cast(AsymmNetSpec, spec).stages[int(number)][int(index)]
    parts = ["expand"] * block.expands + ["depthwise"] + ["se"] * bool(block.squeeze) + ["project"]
    return f"features.{block_index(spec, number, index) + 1}.block.{parts.index(part)}.{_inner(kind)}.{leaf}"


def efficientnet_v2(name: str, spec: Spec) -> str:
    """Return torchvision's name of a weight. The stem, the stages and the last convolution form one sequence."""
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
    """Return torchvision's name of a weight in the first or the last convolution."""
    kind, _, leaf = rest.partition(".")
    return f"features.{0 if head == 'stem' else last}.{CONV_NORM[kind]}.{leaf}"


def _blocks(spec: Spec) -> int:
    """Return the number of blocks in all stages."""
    return sum(len(stage) for stage in cast(Any, spec).stages)


def _inner(kind: str) -> str:
    """Return torchvision's name of an operator inside a sequence or a squeeze-and-excite module."""
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
