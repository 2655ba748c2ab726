"""The names of weights in the PyTorch code of the networks' authors:
- RDNet: github.com/naver-ai/rdnet
- AsymmNet: github.com/Spark001/AsymmNet, pytorch/asymmnet.py
- ShuffleNet V1 and V2: github.com/megvii-model/ShuffleNet-Series;
  these networks take BGR images with values from 0 to 255

Not covered: ShuffleNet V1 with a number of groups other than 3 and 8, or a width of 0.25; the authors' code has no
numbers of channels for them.
"""

from __future__ import annotations

from repro.specs import Spec
from repro.weights.layouts import timm
from repro.weights.layouts.base import CONV_NORM, Layout, block_index

ASYMMNETS = {
    "asymmnet_large": "AsymmNet_Large",
    "asymmnet_large_r0": "AsymmNet_Large(asymmrate=0)",
    "asymmnet_large_r2": "AsymmNet_Large(asymmrate=2)",
    "asymmnet_large_x0_75": "AsymmNet_Large(multiplier=0.75)",
    "asymmnet_large_x0_75_r0": "AsymmNet_Large(multiplier=0.75, asymmrate=0)",
    "asymmnet_large_x0_75_r2": "AsymmNet_Large(multiplier=0.75, asymmrate=2)",
    "asymmnet_large_x0_5": "AsymmNet_Large(multiplier=0.5)",
    "asymmnet_large_x0_5_r0": "AsymmNet_Large(multiplier=0.5, asymmrate=0)",
    "asymmnet_large_x0_5_r2": "AsymmNet_Large(multiplier=0.5, asymmrate=2)",
    "asymmnet_large_x0_35": "AsymmNet_Large(multiplier=0.35)",
    "asymmnet_large_x0_35_r0": "AsymmNet_Large(multiplier=0.35, asymmrate=0)",
    "asymmnet_small": "AsymmNet_Small",
    "asymmnet_small_r0": "AsymmNet_Small(asymmrate=0)",
    "asymmnet_small_r2": "AsymmNet_Small(asymmrate=2)",
    "asymmnet_small_x0_75": "AsymmNet_Small(multiplier=0.75)",
    "asymmnet_small_x0_75_r0": "AsymmNet_Small(multiplier=0.75, asymmrate=0)",
    "asymmnet_small_x0_75_r2": "AsymmNet_Small(multiplier=0.75, asymmrate=2)",
    "asymmnet_small_x0_5": "AsymmNet_Small(multiplier=0.5)",
    "asymmnet_small_x0_5_r0": "AsymmNet_Small(multiplier=0.5, asymmrate=0)",
    "asymmnet_small_x0_5_r2": "AsymmNet_Small(multiplier=0.5, asymmrate=2)",
    "asymmnet_small_x0_35": "AsymmNet_Small(multiplier=0.35)",
    "asymmnet_small_x0_35_r0": "AsymmNet_Small(multiplier=0.35, asymmrate=0)",
}
SHUFFLENETS_V1 = {
    "shufflenet_v1_g3_x0_5": 'ShuffleNetV1(model_size="0.5x", group=3)',
    "shufflenet_v1_g3_x1_0": 'ShuffleNetV1(model_size="1.0x", group=3)',
    "shufflenet_v1_g3_x1_5": 'ShuffleNetV1(model_size="1.5x", group=3)',
    "shufflenet_v1_g3_x2_0": 'ShuffleNetV1(model_size="2.0x", group=3)',
    "shufflenet_v1_g8_x0_5": 'ShuffleNetV1(model_size="0.5x", group=8)',
    "shufflenet_v1_g8_x1_0": 'ShuffleNetV1(model_size="1.0x", group=8)',
    "shufflenet_v1_g8_x1_5": 'ShuffleNetV1(model_size="1.5x", group=8)',
    "shufflenet_v1_g8_x2_0": 'ShuffleNetV1(model_size="2.0x", group=8)',
}
SHUFFLENETS_V2 = {
    "shufflenet_v2_x0_5": 'ShuffleNetV2(model_size="0.5x")',
    "shufflenet_v2_x1_0": 'ShuffleNetV2(model_size="1.0x")',
    "shufflenet_v2_x1_5": 'ShuffleNetV2(model_size="1.5x")',
    "shufflenet_v2_x2_0": 'ShuffleNetV2(model_size="2.0x")',
}


def rdnet(name: str, spec: Spec) -> str:
    """Return the authors' name of a weight: as in timm, except that the stem is a module inside another one."""
    timm_name = timm.rdnet(name, spec)
    return f"stem.{timm_name}" if name.startswith("stem.") else timm_name


def asymmnet(name: str, spec: Spec) -> str:
    """Return the authors' name of a weight.

    All blocks form one sequence; the last convolution, the pooling and the hidden layer form another.
    """
    head, _, rest = name.partition(".")
    if head == "classifier":
        return f"output.{rest}"
    if head == "hidden":
        return f"last_block.4.{rest}"
    if head != "stages":
        kind, _, leaf = rest.partition(".")
        return f"{'first_block' if head == 'stem' else 'last_block'}.{CONV_NORM[kind]}.{leaf}"
    number, index, part, kind, leaf = rest.split(".")
    block = f"asymm_block.{block_index(spec, number, index)}"
    if part == "se":
        return f"{block}.se.out.{0 if kind == 'reduce' else 2}.{leaf}"  # index 1 is the ReLU
    unit = {"expand": "expand", "depthwise": "dw_conv", "project": "pw_conv_linear"}[part]
    return f"{block}.{unit}.{'conv' if kind == 'conv' else 'bn'}.{leaf}"


def shufflenet_v1(name: str, spec: Spec) -> str:
    """Return the authors' name of a weight. A unit has two sequences, between which the channels are shuffled."""
    head, _, rest = name.partition(".")
    if head != "stages":
        return _outside_units(name)
    number, index, part, kind, leaf = rest.split(".")
    sequence, start = {"reduce": (1, 0), "depthwise": (1, 3), "expand": (2, 0)}[part]
    position = start + int(CONV_NORM[kind])
    return f"features.{block_index(spec, number, index)}.branch_main_{sequence}.{position}.{leaf}"


def shufflenet_v2(name: str, spec: Spec) -> str:
    """Return the authors' name of a weight.

    Shortcut and branch of a unit are sequences. In the branch, a ReLU follows the first convolution and normalisation.
    """
    head, _, rest = name.partition(".")
    if head != "stages":
        return _outside_units(name)
    number, index, side, part, kind, leaf = rest.split(".")
    sequence, starts = {"shortcut": ("branch_proj", (0, 2)), "branch": ("branch_main", (0, 3, 5))}[side]
    return f"features.{block_index(spec, number, index)}.{sequence}.{starts[int(part)] + int(CONV_NORM[kind])}.{leaf}"


def _outside_units(name: str) -> str:
    """Return the authors' name of a weight in the stem, the last convolution (only in V2) or the classifier."""
    head, _, rest = name.partition(".")
    if head == "classifier":
        return f"classifier.0.{rest}"
    kind, _, leaf = rest.partition(".")
    return f"{'first_conv' if head == 'stem' else 'conv_last'}.{CONV_NORM[kind]}.{leaf}"


LAYOUTS: tuple[Layout, ...] = (
    Layout("authors", "torch", {name: name for name in timm.RDNETS}, rdnet),
    Layout("authors", "torch", ASYMMNETS, asymmnet),
    Layout("authors", "torch", SHUFFLENETS_V1, shufflenet_v1),
    Layout("authors", "torch", SHUFFLENETS_V2, shufflenet_v2),
)
