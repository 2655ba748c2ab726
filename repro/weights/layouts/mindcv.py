"""The names of weights in MindCV 0.3.0. The notes of the layouts describe where its networks compute something else.

Not covered, because MindCV's network differs: VGG has no biases in its convolutions; resnetv2 is another network;
ShuffleNet V1 shuffles channels before the depthwise convolutions instead of after them, which orders the channels
differently.
"""

from __future__ import annotations

from repro.specs import Spec
from repro.specs.asymmnet import AsymmNetSpec
from repro.specs.efficientnet_v2 import EfficientNetV2Spec
from repro.specs.mobilenet_v2 import MobileNetV2Spec
from repro.weights.layouts.base import Layout, block_index

# component of a block -> number of its cells: convolution, normalisation, and a ReLU except after the projection
PARTS = {"expand": 3, "depthwise": 3, "se": 1, "project": 2}

POOLING = "pads the stem's pooling only at the end where the map is even"


def resnet(name: str, spec: Spec) -> str:
    """Return MindCV's name of a weight: layers count from 1, and so do the convolutions of a block."""
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
    """Return the index of a cell in the sequence of all cells of a block: "depthwise.norm" -> "4"."""
    part, _, kind = rest.partition(".")
    start = 0
    for earlier, cells in PARTS.items():
        if earlier == part:
            break
        operator = "reduce" if earlier == "se" else "conv"
        start += cells if f"{block}.{earlier}.{operator}.weight" in spec.weights else 0
    if part == "se":
        return f"{start}.{'conv_reduce' if kind == 'reduce' else 'conv_expand'}"
    return str(start + (kind == "norm"))


def mobilenet(name: str, spec: Spec) -> str:
    """Return MindCV's name of a weight. Stem, blocks and last convolution form one sequence."""
    assert isinstance(spec, (MobileNetV2Spec, AsymmNetSpec))
    path, _, leaf = name.rpartition(".")
    if path in ("hidden", "classifier"):
        position = 0 if path == "hidden" else 3 if "hidden.weight" in spec.weights else 1
        return f"classifier.{position}.{leaf}"
    if path.startswith("stages."):
        _, stage, index, rest = path.split(".", 3)
        position = 3 + block_index(spec, stage, index)
        return f"features.{position}.layers.{_in_block(f'stages.{stage}.{index}', rest, spec)}.{leaf}"
    part, kind = path.split(".")
    first = 0 if part == "stem" else 3 + sum(map(len, spec.stages))
    return f"features.{first + (kind == 'norm')}.{leaf}"


def shufflenet_v2(name: str, spec: Spec) -> str:
    """Return MindCV's name of a weight. All units form one sequence; each has a sequence per branch."""
    path, _, leaf = name.rpartition(".")
    if path == "classifier":
        return name
    *unit, part, kind = path.split(".")
    if not unit:
        return f"{'first_conv' if part == 'stem' else 'conv_last'}.{int(kind == 'norm')}.{leaf}"
    _, stage, index, branch = unit  # branch: "shortcut" or "branch"; part: the number of the convolution in it
    # no ReLU follows the depthwise convolutions
    sequence, starts = ("branch_proj", (0, 2)) if branch == "shortcut" else ("branch_main", (0, 3, 5))
    position = starts[int(part)] + (kind == "norm")
    return f"features.{block_index(spec, stage, index)}.{sequence}.{position}.{leaf}"


def densenet(name: str, spec: Spec) -> str:
    """Return MindCV's name of a weight. Dense blocks count from 1."""
    path, _, leaf = name.rpartition(".")
    match path.split("."):
        case ["classifier"]:
            return name
        case ["norm"]:
            return f"features.norm5.{leaf}"
        case ["stem", operator]:
            return f"features.{operator}0.{leaf}"
        case [
            "stages",
            stage,
            "transition",
            operator,
        ]:  # in MindCV, the end of the stage before
            return f"features.transition{stage}.features.{operator}.{leaf}"
    _, stage, _, index, operator = path.split(".")
    return f"features.denseblock{int(stage) + 1}.cell_list.{index}.{operator}.{leaf}"


def efficientnet_v2(name: str, spec: Spec) -> str:
    """Return MindCV's name of a weight. The stages follow the three cells of the stem."""
    assert isinstance(spec, EfficientNetV2Spec)
    path, _, leaf = name.rpartition(".")
    if path == "classifier":
        return f"mlp_head.{leaf}"
    if path.startswith("stages."):
        _, stage, index, rest = path.split(".", 3)
        position = _in_block(f"stages.{stage}.{index}", rest, spec)
        return f"features.{3 + int(stage)}.{index}.block.{position}.{leaf}"
    part, kind = path.split(".")
    first = 0 if part == "stem" else 3 + len(spec.stages)
    return f"features.{first + (kind == 'norm')}.{leaf}"


LAYOUTS: tuple[Layout, ...] = (
    Layout(
        "mindcv",
        "mindspore",
        {"resnet50": "resnet50", "resnet101": "resnet101", "resnet152": "resnet152"},
        resnet,
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
        mobilenet,
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
        mobilenet,
        {"hidden.weight": ()},
        options={"norm_eps": 1e-5},
        note="pads convolutions only at the end where the map is even",
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
        shufflenet_v2,
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
        densenet,
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
        efficientnet_v2,
        options={"norm_eps": 1e-5},
    ),
)
