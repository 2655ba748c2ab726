"""The names of weights in pytorchcv.

Its MobileNetV3 is AsymmNet's network with an asymmrate of 0, whose hidden layer has 1,280 features and no biases.

Not covered, because pytorchcv's networks differ:
- resnet50, resnet101 and resnet152, without b: the stride on the first 1x1 convolution of a block
- preresnet*: a normalisation after the first convolution as well
- bn_vgg*, without b at the end: convolutions without biases
- mobilenetv2*: a classifier without biases
- mobilenetv3_* of other widths: a last convolution that keeps its width
- shufflenet_*: shuffles in another place
- shufflenetv2_*: pads the stem's pooling only at the end, for odd maps as well; shufflenetv2b_*: another shuffle
"""

from __future__ import annotations

from repro.specs import Spec
from repro.weights.layouts.base import Layout

OPERATORS = {"conv": "conv", "norm": "bn"}


def resnet(name: str, spec: Spec) -> str:
    """Return pytorchcv's name of a weight: stages, units and the convolutions of a unit count from 1."""
    path, _, leaf = name.rpartition(".")
    match path.split("."):
        case ["classifier"]:
            return f"output.{leaf}"
        case ["stem", kind]:
            return f"features.init_block.conv.{OPERATORS[kind]}.{leaf}"
    _, stage, index, part, kind = path.split(".")
    units = {"reduce": "body.conv1", "spatial": "body.conv2", "restore": "body.conv3", "shortcut": "identity_conv"}
    return f"{_unit(stage, index)}.{units[part]}.{OPERATORS[kind]}.{leaf}"


def densenet(name: str, spec: Spec) -> str:
    """Return pytorchcv's name of a weight: a transition belongs to the stage that follows it."""
    path, _, leaf = name.rpartition(".")
    match path.split("."):
        case ["classifier"]:
            return f"output.{leaf}"
        case ["norm"]:
            return f"features.post_activ.bn.{leaf}"
        case ["stem", kind]:
            return f"features.init_block.{OPERATORS[kind]}.{leaf}"
        case ["stages", stage, "transition", kind]:
            number = int(stage) + 1
            return f"features.stage{number}.trans{number}.conv.{OPERATORS[kind]}.{leaf}"
    _, stage, _, index, operator = path.split(".")
    return f"{_unit(stage, index)}.conv{operator[-1]}.{OPERATORS[operator[:-1]]}.{leaf}"


def vgg(name: str, spec: Spec) -> str:
    """Return pytorchcv's name of a weight: stages, units and linear layers count from 1."""
    path, _, leaf = name.rpartition(".")
    linear = {"hidden1": "fc1.fc", "hidden2": "fc2.fc", "classifier": "fc3"}
    if path in linear:
        return f"output.{linear[path]}.{leaf}"
    _, stage, index, kind = path.split(".")
    return f"{_unit(stage, index)}.{OPERATORS[kind]}.{leaf}"


def mobilenet_v3(name: str, spec: Spec) -> str:
    """Return pytorchcv's name of a weight: stages and units count from 1."""
    path, _, leaf = name.rpartition(".")
    match path.split("."):
        case ["hidden" | "classifier" as layer]:
            return f"output.{'conv1' if layer == 'hidden' else 'conv2'}.{leaf}"
        case ["stem", kind]:
            return f"features.init_block.{OPERATORS[kind]}.{leaf}"
        case ["last", kind]:
            return f"features.final_block.conv.{OPERATORS[kind]}.{leaf}"
    _, stage, index, part, kind = path.split(".")
    if part == "se":
        return f"{_unit(stage, index)}.se.{'conv1' if kind == 'reduce' else 'conv2'}.{leaf}"
    units = {"expand": "exp_conv", "depthwise": "conv1", "project": "conv2"}
    return f"{_unit(stage, index)}.{units[part]}.{OPERATORS[kind]}.{leaf}"


def _unit(stage: str, index: str) -> str:
    """Return pytorchcv's name of the block `index` of a stage."""
    return f"features.stage{int(stage) + 1}.unit{int(index) + 1}"


LAYOUTS: tuple[Layout, ...] = (
    Layout(
        "pytorchcv",
        "torch",
        {"resnet50": "resnet50b", "resnet101": "resnet101b", "resnet152": "resnet152b"},
        resnet,
        lookalikes={"resnet50": "resnet50", "resnet101": "resnet101", "resnet152": "resnet152"},
    ),
    Layout(
        "pytorchcv",
        "torch",
        {
            "densenet121": "densenet121",
            "densenet161": "densenet161",
            "densenet169": "densenet169",
            "densenet201": "densenet201",
        },
        densenet,
    ),
    Layout(
        "pytorchcv",
        "torch",
        {"vgg16": "vgg16", "vgg16_bn": "bn_vgg16b", "vgg19": "vgg19", "vgg19_bn": "bn_vgg19b"},
        vgg,
    ),
    Layout(
        "pytorchcv",
        "torch",
        {"asymmnet_large_r0": "mobilenetv3_large_w1", "asymmnet_small_r0": "mobilenetv3_small_w1"},
        mobilenet_v3,
        {"classifier.weight": (1, 1)},
    ),
)
