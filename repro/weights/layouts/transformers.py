"""The names of weights in Hugging Face's transformers. Files of its TimmWrapper have timm's names.

The arrays do not show the configuration: a ResNet with downsample_in_bottleneck is another network, and so is a
MobileNetV2 without tf_padding or with an output_stride below 32. The published MobileNetV2 have 1,001 classes, of which
the first is the background.
"""

from __future__ import annotations

from repro.specs import Spec
from repro.weights.layouts.base import Layout, block_index

OPERATORS = {"conv": "convolution", "norm": "normalization"}


def resnet(name: str, spec: Spec) -> str:
    """Return the name of a weight in ResNetForImageClassification."""
    path, _, leaf = name.rpartition(".")
    match path.split("."):
        case ["classifier"]:
            return f"classifier.1.{leaf}"
        case ["stem", kind]:
            return f"resnet.embedder.embedder.{OPERATORS[kind]}.{leaf}"
    _, stage, index, part, kind = path.split(".")
    unit = {"reduce": "layer.0", "spatial": "layer.1", "restore": "layer.2", "shortcut": "shortcut"}[part]
    return f"resnet.encoder.stages.{stage}.layers.{index}.{unit}.{OPERATORS[kind]}.{leaf}"


def mobilenet_v2(name: str, spec: Spec) -> str:
    """Return the name of a weight in MobileNetV2ForImageClassification, whose stem includes the first block."""
    path, _, leaf = name.rpartition(".")
    match path.split("."):
        case ["classifier"]:
            return f"classifier.{leaf}"
        case ["stem" | "last" as outer, kind]:
            module = "conv_stem.first_conv" if outer == "stem" else "conv_1x1"
            return f"mobilenet_v2.{module}.{OPERATORS[kind]}.{leaf}"
    _, stage, index, part, kind = path.split(".")
    position = block_index(spec, stage, index)
    block = f"layer.{position - 1}" if position else "conv_stem"
    unit = {"expand": "expand_1x1", "depthwise": "conv_3x3", "project": "reduce_1x1"}[part]
    return f"mobilenet_v2.{block}.{unit}.{OPERATORS[kind]}.{leaf}"


LAYOUTS: tuple[Layout, ...] = (
    Layout(
        "transformers",
        "torch",
        {
            "resnet50": "ResNetForImageClassification",
            "resnet101": "ResNetForImageClassification(depths=[3, 4, 23, 3])",
            "resnet152": "ResNetForImageClassification(depths=[3, 8, 36, 3])",
        },
        resnet,
    ),
    Layout(
        "transformers",
        "torch",
        {
            "mobilenet_v2": "MobileNetV2ForImageClassification",
            "mobilenet_v2_x1_4": "MobileNetV2ForImageClassification(depth_multiplier=1.4)",
            "mobilenet_v2_x1_3": "MobileNetV2ForImageClassification(depth_multiplier=1.3)",
            "mobilenet_v2_x0_75": "MobileNetV2ForImageClassification(depth_multiplier=0.75)",
            "mobilenet_v2_x0_5": "MobileNetV2ForImageClassification(depth_multiplier=0.5)",
            "mobilenet_v2_x0_35": "MobileNetV2ForImageClassification(depth_multiplier=0.35)",
        },
        mobilenet_v2,
        options={"padding": "same", "norm_eps": 1e-3},
    ),
)
