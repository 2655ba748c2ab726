"""Weights as MindCV 0.3.0 has them. Some of its networks compute something else on the same weights; said below.

Left out: VGG, whose convolutions have no biases there; resnetv2, which is another network; ShuffleNet V1, which
shuffles before its depthwise convolutions where ours does after them, so that their channels stand in another order.
"""

from __future__ import annotations

from repro.specs import Spec
from repro.specs.asymmnet import AsymmNetSpec
from repro.specs.efficientnet_v2 import EfficientNetV2Spec
from repro.specs.mobilenet_v2 import MobileNetV2Spec
from repro.specs.shufflenet_v2 import ShuffleNetV2Spec
from repro.weights.layouts.base import Layout

PARTS = {"expand": 3, "depthwise": 3, "se": 1, "project": 2}  # of a block -> cells: convolution, normalisation, ReLU

POOLING = "pads the stem's pooling at the end alone where the map is even"


def _resnet(name: str, spec: Spec) -> str:
    path, _, leaf = name.rpartition(".")
    if path == "classifier":
        return name
    *block, part, kind = path.split(".")
    prefix = f"layer{int(block[1]) + 1}.{block[2]}." if block else ""
    if part == "shortcut":
        return f"{prefix}down_sample.{int(kind == 'norm')}.{leaf}"
    number = {"stem": 1, "reduce": 1, "spatial": 2, "restore": 3}[part]
    return f"{prefix}{'conv' if kind == 'conv' else 'bn'}{number}.{leaf}"


def _in_block(block: str, rest: str, spec: Spec) -> str:
    """Our "depthwise.norm" -> "4", its place in the one list that holds all cells of a block."""
    part, _, kind = rest.partition(".")
    place = 0
    for other, cells in PARTS.items():
        if other == part:
            break
        operator = "reduce" if other == "se" else "conv"
        place += cells if f"{block}.{other}.{operator}.weight" in spec.weights else 0
    if part == "se":
        return f"{place}.{'conv_reduce' if kind == 'reduce' else 'conv_expand'}"
    return str(place + (kind == "norm"))


def _mobilenet(name: str, spec: Spec) -> str:
    assert isinstance(spec, (MobileNetV2Spec, AsymmNetSpec))
    path, _, leaf = name.rpartition(".")
    if path in ("hidden", "classifier"):
        place = 0 if path == "hidden" else 3 if "hidden.weight" in spec.weights else 1
        return f"classifier.{place}.{leaf}"
    if path.startswith("stages."):
        _, stage, index, rest = path.split(".", 3)
        place = 3 + sum(map(len, spec.stages[: int(stage)])) + int(index)
        return f"features.{place}.layers.{_in_block(f'stages.{stage}.{index}', rest, spec)}.{leaf}"
    part, kind = path.split(".")
    first = 0 if part == "stem" else 3 + sum(map(len, spec.stages))
    return f"features.{first + (kind == 'norm')}.{leaf}"


def _shufflenet_v2(name: str, spec: Spec) -> str:
    assert isinstance(spec, ShuffleNetV2Spec)
    path, _, leaf = name.rpartition(".")
    if path == "classifier":
        return name
    *unit, part, kind = path.split(".")
    if not unit:
        return f"{'first_conv' if part == 'stem' else 'conv_last'}.{int(kind == 'norm')}.{leaf}"
    _, stage, index, branch = unit  # branch: "shortcut" or "branch"; part: the number of the convolution in it
    place = sum(map(len, spec.stages[: int(stage)])) + int(index)
    # the depthwise convolutions have no ReLU behind them
    theirs, first = ("branch_proj", (0, 2)) if branch == "shortcut" else ("branch_main", (0, 3, 5))
    return f"features.{place}.{theirs}.{first[int(part)] + (kind == 'norm')}.{leaf}"


def _densenet(name: str, spec: Spec) -> str:
    path, _, leaf = name.rpartition(".")
    match path.split("."):
        case ["classifier"]:
            return name
        case ["norm"]:
            return f"features.norm5.{leaf}"
        case ["stem", operator]:
            return f"features.{operator}0.{leaf}"
        case ["stages", stage, "transition", operator]:  # begins our stage and ends theirs
            return f"features.transition{stage}.features.{operator}.{leaf}"
    _, stage, _, index, operator = path.split(".")
    return f"features.denseblock{int(stage) + 1}.cell_list.{index}.{operator}.{leaf}"


def _efficientnet_v2(name: str, spec: Spec) -> str:
    assert isinstance(spec, EfficientNetV2Spec)
    path, _, leaf = name.rpartition(".")
    if path == "classifier":
        return f"mlp_head.{leaf}"
    if path.startswith("stages."):
        _, stage, index, rest = path.split(".", 3)
        place = _in_block(f"stages.{stage}.{index}", rest, spec)
        return f"features.{3 + int(stage)}.{index}.block.{place}.{leaf}"
    part, kind = path.split(".")
    first = 0 if part == "stem" else 3 + len(spec.stages)
    return f"features.{first + (kind == 'norm')}.{leaf}"


LAYOUTS: tuple[Layout, ...] = (
    Layout(
        "mindcv",
        "mindspore",
        {"resnet50": "resnet50", "resnet101": "resnet101", "resnet152": "resnet152"},
        _resnet,
        note=POOLING,
    ),
    Layout(
        "mindcv",
        "mindspore",
        {
            "mobilenet_v2": "mobilenet_v2_100",
            "mobilenet_v2_x1_4": "mobilenet_v2_140",
            "mobilenet_v2_x0_75": "mobilenet_v2_075",
            "mobilenet_v2_x0_5": "mobilenet_v2_050_224",
            "mobilenet_v2_x0_35": "mobilenet_v2_035_224",
        },
        _mobilenet,
    ),
    Layout(
        "mindcv",
        "mindspore",
        {
            "mobilenet_v3_large": "mobilenet_v3_large_100",
            "mobilenet_v3_large_x0_75": "mobilenet_v3_large_075",
            "mobilenet_v3_small": "mobilenet_v3_small_100",
            "mobilenet_v3_small_x0_75": "mobilenet_v3_small_075",
        },
        _mobilenet,
        {"hidden.weight": ()},
        options={"norm_eps": 1e-5},
        note="pads convolutions at the end alone where the map is even",
    ),
    Layout(
        "mindcv",
        "mindspore",
        {
            "shufflenet_v2_x0_5": "shufflenet_v2_x0_5",
            "shufflenet_v2_x1_0": "shufflenet_v2_x1_0",
            "shufflenet_v2_x1_5": "shufflenet_v2_x1_5",
            "shufflenet_v2_x2_0": "shufflenet_v2_x2_0",
        },
        _shufflenet_v2,
        note=POOLING,
    ),
    Layout(
        "mindcv",
        "mindspore",
        {
            "densenet121": "densenet121",
            "densenet161": "densenet161",
            "densenet169": "densenet169",
            "densenet201": "densenet201",
        },
        _densenet,
    ),
    Layout(
        "mindcv",
        "mindspore",
        {
            "efficientnet_v2_s_same": "efficientnet_v2_s",
            "efficientnet_v2_m_same": "efficientnet_v2_m",
            "efficientnet_v2_l_same": "efficientnet_v2_l",
            "efficientnet_v2_xl_same": "efficientnet_v2_xl",
        },
        _efficientnet_v2,
        options={"norm_eps": 1e-5},
    ),
)
