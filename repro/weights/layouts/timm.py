"""The names of weights in timm. Its networks compute what this repository's do, with two exceptions:
- rdnet_*: the layer normalisation before timm's classifier has an epsilon of 1e-6; the authors and this repository
  have torch's 1e-5. The published weights are the authors', so that they give the authors' logits here.
- vgg*: where an image leaves more than 7x7 positions, timm convolves and averages them, whereas torchvision and this
  repository pool them to 7x7. Images whose sides are below 256 pixels give equal logits.

Not covered, because timm's network differs: tf_mobilenetv3_*, with TensorFlow's padding, and mobilenetv3_* of other
widths, with a head that keeps its width.
"""

from __future__ import annotations

from typing import cast

from repro.specs import Spec
from repro.specs.asymmnet import AsymmNetSpec
from repro.specs.efficientnet_v2 import EfficientNetV2Spec
from repro.specs.vgg import GRID
from repro.weights.layouts.base import Layout, block_index
from repro.weights.layouts.torchvision import DENSENETS, RESNETS, VGGS, densenet, resnet, vgg_features

RESNETS_V2 = {"resnet50_v2": "resnetv2_50", "resnet101_v2": "resnetv2_101", "resnet152_v2": "resnetv2_152"}
RDNETS = {
    "rdnet_tiny": "rdnet_tiny",
    "rdnet_small": "rdnet_small",
    "rdnet_base": "rdnet_base",
    "rdnet_large": "rdnet_large",
}
MOBILENETS_V2 = {
    "mobilenet_v2": "mobilenetv2_100",
    "mobilenet_v2_x1_4": "mobilenetv2_140",
    "mobilenet_v2_x0_75": "mobilenetv2_075",
    "mobilenet_v2_x0_5": "mobilenetv2_050",
    "mobilenet_v2_x0_35": "mobilenetv2_035",
}
MOBILENETS_V3 = {"mobilenet_v3_large": "mobilenetv3_large_100", "mobilenet_v3_small": "mobilenetv3_small_100"}
EFFICIENTNETS_V2 = {
    "efficientnet_v2_b0_same": "tf_efficientnetv2_b0",
    "efficientnet_v2_b1_same": "tf_efficientnetv2_b1",
    "efficientnet_v2_b2_same": "tf_efficientnetv2_b2",
    "efficientnet_v2_b3_same": "tf_efficientnetv2_b3",
    "efficientnet_v2_s_same": "tf_efficientnetv2_s",
    "efficientnet_v2_m_same": "tf_efficientnetv2_m",
    "efficientnet_v2_l_same": "tf_efficientnetv2_l",
    "efficientnet_v2_xl_same": "tf_efficientnetv2_xl",
}
EFFICIENTNETS_V2_SYMMETRIC = {
    "efficientnet_v2_s": "efficientnetv2_s",
    "efficientnet_v2_m": "efficientnetv2_m",
    "efficientnet_v2_l": "efficientnetv2_l",
    "efficientnet_v2_xl": "efficientnetv2_xl",
}


def resnet_v2(name: str, spec: Spec) -> str:
    """Return timm's name of a weight.

    A normalisation has the number of the convolution that it precedes, so that the one after `reduce` is norm2.
    """
    head, _, rest = name.partition(".")
    if head != "stages":
        outside = {"stem": "stem.conv", "norm": "norm", "classifier": "head.fc"}
        return f"{outside[head]}.{rest}"
    number, index, rest = rest.split(".", 2)
    operator, _, leaf = rest.rpartition(".")
    operator_name = {
        "norm": "norm1", "shortcut": "downsample.conv", "reduce.conv": "conv1", "reduce.norm": "norm2",
        "spatial.conv": "conv2", "spatial.norm": "norm3", "restore": "conv3",
    }[operator]  # fmt: skip
    return f"stages.{number}.blocks.{index}.{operator_name}.{leaf}"


def rdnet(name: str, spec: Spec) -> str:
    """Return timm's name of a weight. A stage is a sequence of a transition (two operators) and dense blocks."""
    head, _, rest = name.partition(".")
    if head == "stem":
        kind, _, leaf = rest.partition(".")
        return f"stem.{'0' if kind == 'conv' else '1'}.{leaf}"
    if head != "stages":
        return f"head.{'norm' if head == 'norm' else 'fc'}.{rest}"
    number, part, rest = rest.split(".", 2)
    if part == "transition":
        kind, _, leaf = rest.partition(".")
        return f"dense_stages.{number}.{'0' if kind == 'norm' else '1'}.{leaf}"
    index, _, rest = rest.partition(".")
    block = f"dense_stages.{number}.{0 if number == '0' else 2}.dense_block{index}"
    if rest == "scale":
        return f"{block}.gamma"
    operator, _, leaf = rest.rpartition(".")
    # index 3 is the activation
    position = {"depthwise": "0", "norm": "1", "expand": "2", "project": "4", "se.conv": "5.fc"}[operator]
    return f"{block}.layers.layers.{position}.{leaf}"


def mobilenet_v2(name: str, spec: Spec) -> str:
    """Return timm's name of a weight.

    Operators are numbered inside a block. Without an expansion, the projection is the first pointwise convolution.
    """
    head, _, rest = name.partition(".")
    if head != "stages":
        return _outside_blocks(name)
    number, index, part, kind, leaf = rest.split(".")
    parts = ["expand"] * (number != "0") + ["depthwise", "project"]
    project = "conv_pwl" if "expand" in parts else "conv_pw"
    convolutions = {"expand": "conv_pw", "depthwise": "conv_dw", "project": project}
    operator = convolutions[part] if kind == "conv" else f"bn{parts.index(part) + 1}"
    return f"blocks.{number}.{index}.{operator}.{leaf}"


def mobilenet_v3(name: str, spec: Spec) -> str:
    """Return timm's name of a weight: as in MobileNetV2, except for the head and the stages.

    A stage of timm begins wherever the number of channels changes.
    """
    stages = cast(AsymmNetSpec, spec).stages
    channels = [block.channels_out for stage in stages for block in stage]
    head, _, rest = name.partition(".")
    if head in ("stem", "classifier"):
        return _outside_blocks(name)
    if head == "hidden":
        return f"conv_head.{rest}"
    if head == "last":
        kind, _, leaf = rest.partition(".")
        return f"blocks.{len(set(channels))}.0.{'conv' if kind == 'conv' else 'bn1'}.{leaf}"
    number, index, part, kind, leaf = rest.split(".")
    position = block_index(spec, number, index)
    stage = sum(channels[i] != channels[i - 1] for i in range(1, position + 1))
    parts = ["expand"] * stages[int(number)][int(index)].expands + ["depthwise", "project"]
    if part == "se":
        operator = f"se.conv_{'reduce' if kind == 'reduce' else 'expand'}"
    elif kind == "norm":
        operator = f"bn{parts.index(part) + 1}"
    else:
        project = "conv_pwl" if "expand" in parts else "conv_pw"
        operator = {"expand": "conv_pw", "depthwise": "conv_dw", "project": project}[part]
    return f"blocks.{stage}.{position - channels.index(channels[position])}.{operator}.{leaf}"


def efficientnet_v2(name: str, spec: Spec) -> str:
    """Return timm's name of a weight.

    A block has one convolution, two, or those of MobileNetV2 and squeeze-and-excite.
    """
    head, _, rest = name.partition(".")
    if head != "stages":
        return _outside_blocks(name)
    number, index, part, kind, leaf = rest.split(".")
    block = cast(EfficientNetV2Spec, spec).stages[int(number)][int(index)]
    if part == "se":
        operator = f"se.conv_{'reduce' if kind == 'reduce' else 'expand'}"
    elif kind == "norm":
        parts = ["expand"] * block.expands + ["depthwise"] * (not block.fused) + ["project"]
        operator = f"bn{parts.index(part) + 1}"
    elif block.fused:
        operator = "conv_exp" if part == "expand" else "conv_pwl" if block.expands else "conv"
    else:
        operator = {"expand": "conv_pw", "depthwise": "conv_dw", "project": "conv_pwl"}[part]
    return f"blocks.{number}.{index}.{operator}.{leaf}"


def _outside_blocks(name: str) -> str:
    """Return timm's name of a weight in the stem, the last convolution or the classifier."""
    head, _, rest = name.partition(".")
    if head == "classifier":
        return name
    kind, _, leaf = rest.partition(".")
    operators = {"conv": "conv_stem", "norm": "bn1"} if head == "stem" else {"conv": "conv_head", "norm": "bn2"}
    return f"{operators[kind]}.{leaf}"


def vgg(name: str, spec: Spec) -> str:
    """Return timm's name of a weight: features as in torchvision, and three named linear layers."""
    if name.startswith("stages."):
        return vgg_features(name, spec)
    head, _, leaf = name.partition(".")
    layers = {"hidden1": "pre_logits.fc1", "hidden2": "pre_logits.fc2", "classifier": "head.fc"}
    return f"{layers[head]}.{leaf}"


LAYOUTS: tuple[Layout, ...] = (
    Layout("timm", "torch", RESNETS, resnet),
    Layout("timm", "torch", RESNETS_V2, resnet_v2, {"classifier.weight": (1, 1)}),
    Layout("timm", "torch", DENSENETS, densenet),
    Layout("timm", "torch", RDNETS, rdnet),
    Layout("timm", "torch", VGGS, vgg, {"hidden1.weight": (GRID, GRID), "hidden2.weight": (1, 1)}),
    Layout("timm", "torch", MOBILENETS_V2, mobilenet_v2),
    Layout("timm", "torch", MOBILENETS_V3, mobilenet_v3, options={"norm_eps": 1e-5}),
    Layout("timm", "torch", EFFICIENTNETS_V2, efficientnet_v2),
    Layout("timm", "torch", EFFICIENTNETS_V2_SYMMETRIC, efficientnet_v2, options={"norm_eps": 1e-5}),
)
