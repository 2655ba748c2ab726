"""The names of weights in PaddleClas, which are those of paddle.vision in DenseNet.

Not covered, because PaddleClas's networks differ:
- VGG: convolutions without biases, and dropout that halves the features in evaluation as well
- MobileNetV2: an expansion in the first block as well, and channels that are not rounded to multiples of 8
- MobileNetV3: an expansion in every block, a hard-sigmoid of slope 0.2, a hidden layer of 1,280 features without biases
  at every width, and dropout that scales in evaluation as well
- ResNet*_vd and *_vc, and the ShuffleNets V2 of widths 0.25 and 0.33: other structures
"""

from __future__ import annotations

from typing import cast

from repro.specs import Spec
from repro.specs.efficientnet_v2 import EfficientNetV2Spec
from repro.weights.layouts import paddle_vision
from repro.weights.layouts.base import Layout, block_index

OPERATORS = {"conv": "conv", "norm": "bn"}


def resnet(name: str, spec: Spec) -> str:
    """Return PaddleClas's name of a weight. All blocks form one sequence."""
    path, _, leaf = name.rpartition(".")
    match path.split("."):
        case ["classifier"]:
            return f"fc.{leaf}"
        case ["stem", kind]:
            return f"stem.0.{OPERATORS[kind]}.{leaf}"
    _, stage, index, part, kind = path.split(".")
    unit = {"reduce": "conv0", "spatial": "conv1", "restore": "conv2", "shortcut": "short"}[part]
    return f"blocks.{block_index(spec, stage, index)}.{unit}.{OPERATORS[kind]}.{leaf}"


def shufflenet_v2(name: str, spec: Spec) -> str:
    """Return PaddleClas's name of a weight: as in paddle.vision, with names instead of numbers for the operators."""
    operators = {"0": "_conv", "1": "_batch_norm"}
    return ".".join(operators.get(part, part) for part in paddle_vision.shufflenet_v2(name, spec).split("."))


def efficientnet_v2(name: str, spec: Spec) -> str:
    """Return PaddleClas's name of a weight. All blocks form one sequence, and padded convolutions are modules."""
    path, _, leaf = name.rpartition(".")
    match path.split("."):
        case ["classifier"]:
            return f"_fc.{leaf}"
        case ["stem", kind]:
            return f"_stem.{'_conv_stem._conv' if kind == 'conv' else '_norm'}.{leaf}"
        case ["head", kind]:
            return f"_head.{'_conv_head' if kind == 'conv' else '_norm'}.{leaf}"
    _, stage, index, part, kind = path.split(".")
    block = cast(EfficientNetV2Spec, spec).stages[int(stage)][int(index)]
    if part == "se":
        operator = f"_se.{'_se_reduce' if kind == 'reduce' else '_se_expand'}._conv"
    elif kind == "conv":
        operator = f"_{part}_conv._conv"
    else:
        operator = {"expand": "_norm0", "depthwise": "_norm1", "project": "_norm1" if block.fused else "_norm2"}[part]
    return f"_blocks.{block_index(spec, stage, index)}.{operator}.{leaf}"


LAYOUTS: tuple[Layout, ...] = (
    Layout(
        "paddleclas",
        "paddle",
        {"resnet50": "ResNet50", "resnet101": "ResNet101", "resnet152": "ResNet152"},
        resnet,
    ),
    Layout(
        "paddleclas",
        "paddle",
        {
            "densenet121": "DenseNet121",
            "densenet161": "DenseNet161",
            "densenet169": "DenseNet169",
            "densenet201": "DenseNet201",
        },
        paddle_vision.densenet,
    ),
    Layout(
        "paddleclas",
        "paddle",
        {
            "shufflenet_v2_x0_5_torchvision": "ShuffleNetV2_x0_5",
            "shufflenet_v2_x1_0_torchvision": "ShuffleNetV2_x1_0",
            "shufflenet_v2_x1_5_torchvision": "ShuffleNetV2_x1_5",
            "shufflenet_v2_x2_0_torchvision": "ShuffleNetV2_x2_0",
        },
        shufflenet_v2,
        lookalikes={"shufflenet_v2_x1_0_torchvision": "ShuffleNetV2_swish"},
    ),
    Layout(
        "paddleclas",
        "paddle",
        {
            "efficientnet_v2_s_same": "EfficientNetV2_S",
            "efficientnet_v2_m_same": "model_zoo.efficientnet_v2.EfficientNetV2_M",
            "efficientnet_v2_l_same": "model_zoo.efficientnet_v2.EfficientNetV2_L",
            "efficientnet_v2_xl_same": "model_zoo.efficientnet_v2.EfficientNetV2_XL",
        },
        efficientnet_v2,
        note="pads a map with an odd side as if the side were even",
    ),
)
