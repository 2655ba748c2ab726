"""The names of those who invented the networks, as their PyTorch code has them:
- RDNet: github.com/naver-ai/rdnet
- AsymmNet: github.com/Spark001/AsymmNet, pytorch/asymmnet.py
- ShuffleNet V1 and V2: github.com/megvii-model/ShuffleNet-Series, whose networks read images in BGR from 0 to 255

Left out: ShuffleNet V1 with other than 3 and 8 groups or a width of 0.25, for which the authors' code has no channels.
"""

from __future__ import annotations

from repro.specs import Spec
from repro.weights.layouts import timm
from repro.weights.layouts.base import CONV_NORM, Layout, place

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
    """timm took the authors' names over but for the stem, a module inside one."""
    theirs = timm.rdnet(name, spec)
    return f"stem.{theirs}" if name.startswith("stem.") else theirs


def asymmnet(name: str, spec: Spec) -> str:
    """All blocks are one row; the last convolution, pooling and the hidden one are another."""
    head, _, rest = name.partition(".")
    if head == "classifier":
        return f"output.{rest}"
    if head == "hidden":
        return f"last_block.4.{rest}"
    if head != "stages":
        kind, _, leaf = rest.partition(".")
        return f"{'first_block' if head == 'stem' else 'last_block'}.{CONV_NORM[kind]}.{leaf}"
    number, index, part, kind, leaf = rest.split(".")
    block = f"asymm_block.{place(spec, number, index)}"
    if part == "se":
        return f"{block}.se.out.{0 if kind == 'reduce' else 2}.{leaf}"  # ReLU is between them
    unit = {"expand": "expand", "depthwise": "dw_conv", "project": "pw_conv_linear"}[part]
    return f"{block}.{unit}.{'conv' if kind == 'conv' else 'bn'}.{leaf}"


def shufflenet_v1(name: str, spec: Spec) -> str:
    """A unit is two rows, between which the channels are shuffled."""
    head, _, rest = name.partition(".")
    if head != "stages":
        return _outside_units(name)
    number, index, part, kind, leaf = rest.split(".")
    row, start = {"reduce": (1, 0), "depthwise": (1, 3), "expand": (2, 0)}[part]
    at = start + int(CONV_NORM[kind])
    return f"features.{place(spec, number, index)}.branch_main_{row}.{at}.{leaf}"


def shufflenet_v2(name: str, spec: Spec) -> str:
    """Both ways through a unit are rows; in the branch's, ReLU has the place behind the first two operators."""
    head, _, rest = name.partition(".")
    if head != "stages":
        return _outside_units(name)
    number, index, side, part, kind, leaf = rest.split(".")
    row, starts = {"shortcut": ("branch_proj", (0, 2)), "branch": ("branch_main", (0, 3, 5))}[side]
    return f"features.{place(spec, number, index)}.{row}.{starts[int(part)] + int(CONV_NORM[kind])}.{leaf}"


def _outside_units(name: str) -> str:
    """The ends of a ShuffleNet; `last` is in the second version alone."""
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
