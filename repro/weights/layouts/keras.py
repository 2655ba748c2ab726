"""The names of weights in keras.applications, which publishes .h5 files.

Its networks compute what this repository's do with the options of the layouts, with two exceptions:
- MobileNetV2 and MobileNetV3: built for images of any size, Keras pads a map with an odd side as if the side were even.
- VGG: Keras's linear layers fit only images of 224 pixels.

Layers without weights, such as the Rescaling and Normalization with which MobileNetV3 and EfficientNetV2 begin, have no
place here: they are a preparation of the images.
"""

from __future__ import annotations

from repro.specs import Spec
from repro.weights.layouts.base import Layout, block_index

RESNET_V2 = {  # inside a block
    "norm": "preact_bn",
    "shortcut": "0_conv",
    "reduce.conv": "1_conv",
    "reduce.norm": "1_bn",
    "spatial.conv": "2_conv",
    "spatial.norm": "2_bn",
    "restore": "3_conv",
}
MOBILENET_V2_ENDS = {"stem": ("Conv1", "bn_Conv1"), "last": ("Conv_1", "Conv_1_bn")}  # convolution, normalisation
MOBILENET_V3 = {
    "stem.conv": "conv",
    "stem.norm": "conv_bn",
    "last.conv": "conv_1",
    "last.norm": "conv_1_bn",
    "hidden": "conv_2",
    "classifier": "logits",
}
SQUEEZE_V3 = {"reduce": "squeeze_excite_conv", "restore": "squeeze_excite_conv_1"}
EFFICIENTNET_V2 = {  # inside a block
    "expand.conv": "expand_conv",
    "expand.norm": "expand_bn",
    "depthwise.conv": "dwconv2",
    "depthwise.norm": "bn",
    "se.reduce": "se_reduce",
    "se.restore": "se_expand",
    "project.conv": "project_conv",
    "project.norm": "project_bn",
}
OPERATORS = {"conv": "conv", "norm": "bn"}


def resnet(name: str, spec: Spec) -> str:
    """Return Keras's name of a weight: stages count from 2, and blocks and the convolutions of a block from 1."""
    path, _, leaf = name.rpartition(".")
    match path.split("."):
        case ["classifier"]:
            return f"predictions.{leaf}"
        case ["stem", kind]:
            return f"conv1_{OPERATORS[kind]}.{leaf}"
    _, stage, index, part, kind = path.split(".")
    number = ("shortcut", "reduce", "spatial", "restore").index(part)
    return f"conv{int(stage) + 2}_block{int(index) + 1}_{number}_{OPERATORS[kind]}.{leaf}"


def resnet_v2(name: str, spec: Spec) -> str:
    """Return Keras's name of a weight: stages count from 2 and blocks from 1."""
    path, _, leaf = name.rpartition(".")
    outer = {"stem": "conv1_conv", "norm": "post_bn", "classifier": "predictions"}
    if path in outer:
        return f"{outer[path]}.{leaf}"
    _, stage, index, part = path.split(".", 3)
    return f"conv{int(stage) + 2}_block{int(index) + 1}_{RESNET_V2[part]}.{leaf}"


def densenet(name: str, spec: Spec) -> str:
    """Return Keras's name of a weight. Stages count from 2, and a transition has the number of the stage before it."""
    path, _, leaf = name.rpartition(".")
    match path.split("."):
        case ["classifier"]:
            return f"predictions.{leaf}"
        case ["norm"]:
            return f"bn.{leaf}"
        case ["stem", kind]:
            return f"conv1_{OPERATORS[kind]}.{leaf}"
        case ["stages", stage, "transition", kind]:
            return f"pool{int(stage) + 1}_{OPERATORS[kind]}.{leaf}"
    _, stage, _, index, part = path.split(".")
    layer = {"norm1": "0_bn", "conv1": "1_conv", "norm2": "1_bn", "conv2": "2_conv"}[part]
    return f"conv{int(stage) + 2}_block{int(index) + 1}_{layer}.{leaf}"


def vgg(name: str, spec: Spec) -> str:
    """Return Keras's name of a weight: blocks and their convolutions count from 1."""
    path, _, leaf = name.rpartition(".")
    if path in ("hidden1", "hidden2", "classifier"):
        return f"{path.replace('hidden', 'fc').replace('classifier', 'predictions')}.{leaf}"
    _, stage, index, _ = path.split(".")
    return f"block{int(stage) + 1}_conv{int(index) + 1}.{leaf}"


def mobilenet_v2(name: str, spec: Spec) -> str:
    """Return Keras's name of a weight. All blocks are numbered; the first, which does not expand, has no number."""
    path, _, leaf = name.rpartition(".")
    if path == "classifier":
        return f"predictions.{leaf}"
    *block, part, kind = path.split(".")
    if not block:
        return f"{MOBILENET_V2_ENDS[part][kind == 'norm']}.{leaf}"
    number = block_index(spec, *block[1:])
    prefix = f"block_{number}" if number else "expanded_conv"
    return f"{prefix}_{part}{'_BN' if kind == 'norm' else ''}.{leaf}"


def mobilenet_v3(name: str, spec: Spec) -> str:
    """Return Keras's name of a weight. All blocks are numbered; the first has no number."""
    path, _, leaf = name.rpartition(".")
    if path in MOBILENET_V3:
        return f"{MOBILENET_V3[path]}.{leaf}"
    _, stage, index, part, kind = path.split(".")
    number = block_index(spec, stage, index)
    layer = SQUEEZE_V3[kind] if part == "se" else f"{part}{'_bn' if kind == 'norm' else ''}"
    return f"expanded_conv_{f'{number}_' if number else ''}{layer}.{leaf}"


def efficientnet_v2(name: str, spec: Spec) -> str:
    """Return Keras's name of a weight: stages count from 1, and the blocks of a stage have letters."""
    path, _, leaf = name.rpartition(".")
    match path.split("."):
        case ["classifier"]:
            return f"predictions.{leaf}"
        case ["stem", kind]:
            return f"stem_{OPERATORS[kind]}.{leaf}"
        case ["head", kind]:
            return f"top_{OPERATORS[kind]}.{leaf}"
    _, stage, index, part = path.split(".", 3)
    return f"block{int(stage) + 1}{chr(ord('a') + int(index))}_{EFFICIENTNET_V2[part]}.{leaf}"


LAYOUTS: tuple[Layout, ...] = (
    Layout(
        "keras",
        "keras",
        {
            "resnet50_keras": "ResNet50(weights=None)",
            "resnet101_keras": "ResNet101(weights=None)",
            "resnet152_keras": "ResNet152(weights=None)",
        },
        resnet,
    ),
    Layout(
        "keras",
        "keras",
        {
            "resnet50_v2_keras": "ResNet50V2(weights=None)",
            "resnet101_v2_keras": "ResNet101V2(weights=None)",
            "resnet152_v2_keras": "ResNet152V2(weights=None)",
        },
        resnet_v2,
    ),
    Layout(
        "keras",
        "keras",
        {
            "densenet121": "DenseNet121(weights=None)",
            "densenet169": "DenseNet169(weights=None)",
            "densenet201": "DenseNet201(weights=None)",
        },
        densenet,
        options={"norm_eps": 1.001e-5},
    ),
    Layout(
        "keras",
        "keras",
        {
            "vgg16": "VGG16(weights=None, input_shape=(224, 224, 3))",
            "vgg19": "VGG19(weights=None, input_shape=(224, 224, 3))",
        },
        vgg,
        {"hidden1.weight": (7, 7)},
        flattened=("hidden1.weight",),
    ),
    Layout(
        "keras",
        "keras",
        {
            "mobilenet_v2": "MobileNetV2(weights=None)",
            "mobilenet_v2_x1_4": "MobileNetV2(weights=None, alpha=1.4)",
            "mobilenet_v2_x1_3": "MobileNetV2(weights=None, alpha=1.3)",
            "mobilenet_v2_x0_75": "MobileNetV2(weights=None, alpha=0.75)",
            "mobilenet_v2_x0_5": "MobileNetV2(weights=None, alpha=0.5)",
            "mobilenet_v2_x0_35": "MobileNetV2(weights=None, alpha=0.35)",
        },
        mobilenet_v2,
        options={"padding": "same", "norm_eps": 1e-3},
    ),
    Layout(
        "keras",
        "keras",
        {
            "mobilenet_v3_large": "MobileNetV3Large(weights=None, include_preprocessing=False)",
            "mobilenet_v3_large_x0_75_keras": "MobileNetV3Large(weights=None, include_preprocessing=False, alpha=0.75)",
            "mobilenet_v3_small": "MobileNetV3Small(weights=None, include_preprocessing=False)",
            "mobilenet_v3_small_x0_75_keras": "MobileNetV3Small(weights=None, include_preprocessing=False, alpha=0.75)",
        },
        mobilenet_v3,
        {"classifier.weight": (1, 1)},
        options={"padding": "same"},
    ),
    Layout(
        "keras",
        "keras",
        {
            "efficientnet_v2_b0_same": "EfficientNetV2B0(weights=None, include_preprocessing=False)",
            "efficientnet_v2_b1_same": "EfficientNetV2B1(weights=None, include_preprocessing=False)",
            "efficientnet_v2_b2_same": "EfficientNetV2B2(weights=None, include_preprocessing=False)",
            "efficientnet_v2_b3_same": "EfficientNetV2B3(weights=None, include_preprocessing=False)",
            "efficientnet_v2_s_same": "EfficientNetV2S(weights=None, include_preprocessing=False)",
            "efficientnet_v2_m_same": "EfficientNetV2M(weights=None, include_preprocessing=False)",
            "efficientnet_v2_l_same": "EfficientNetV2L(weights=None, include_preprocessing=False)",
        },
        efficientnet_v2,
    ),
)
