"""The names of weights in paddle.vision.models, which are torchvision's in some families.

Not covered: shufflenet_v2_x2_0, whose second stage has 224 channels in Paddle instead of the paper's 244.
"""

from __future__ import annotations

from repro.specs import Spec
from repro.weights.layouts import torchvision
from repro.weights.layouts.base import CONV_NORM, Layout, block_index


def mobilenet_v3(name: str, spec: Spec) -> str:
    """Return Paddle's name of a weight. All blocks form one sequence."""
    path, _, leaf = name.rpartition(".")
    if path in (linear := {"hidden": 0, "classifier": 3}):
        return f"classifier.{linear[path]}.{leaf}"
    *block, part, kind = path.split(".")
    if not block:
        return f"{'conv' if part == 'stem' else 'lastconv'}.{CONV_NORM[kind]}.{leaf}"
    position = block_index(spec, block[1], block[2])
    if part == "se":
        return f"blocks.{position}.mid_se.{'fc1' if kind == 'reduce' else 'fc2'}.{leaf}"
    unit = {"expand": "expand_conv", "depthwise": "bottleneck_conv", "project": "linear_conv"}[part]
    return f"blocks.{position}.{unit}.{CONV_NORM[kind]}.{leaf}"


def shufflenet_v2(name: str, spec: Spec) -> str:
    """Return Paddle's name of a weight: "STAGE_UNIT", where stages count from 2 and units from 1."""
    path, _, leaf = name.rpartition(".")
    if path == "classifier":
        return f"_fc.{leaf}"
    *unit_path, part, kind = path.split(".")
    if not unit_path:
        return f"{'_conv1' if part == 'stem' else '_last_conv'}.{CONV_NORM[kind]}.{leaf}"
    _, stage, index, branch = unit_path  # branch: "shortcut" or "branch"; part: the number of the convolution in it
    if branch == "shortcut":
        unit = ("_conv_dw_1", "_conv_linear_1")[int(part)]
    else:
        unit = ("_conv_pw", "_conv_dw", "_conv_linear")[int(part)] + ("_2" if index == "0" else "")
    return f"{int(stage) + 2}_{int(index) + 1}.{unit}.{CONV_NORM[kind]}.{leaf}"


def densenet(name: str, spec: Spec) -> str:
    """Return Paddle's name of a weight: stages count from 2 and layers from 1."""
    path, _, leaf = name.rpartition(".")
    if path in (single := {"norm": "batch_norm", "classifier": "out"}):
        return f"{single[path]}.{leaf}"
    *module, operator = path.split(".")
    kind = "_conv" if operator.startswith("conv") else "_batch_norm"
    match module:
        case ["stages", stage, "blocks", index]:
            number = int(stage) + 2
            return f"db_conv_{number}.conv{number}_{int(index) + 1}.bn_ac_func{operator[-1]}.{kind}.{leaf}"
        case ["stages", stage, "transition"]:  # in Paddle, the end of the stage before
            return f"tr_conv{int(stage) + 1}_blk.conv_ac_func.{kind}.{leaf}"
    return f"conv1_func.{kind}.{leaf}"


LAYOUTS: tuple[Layout, ...] = (
    Layout(
        "paddle.vision",
        "paddle",
        {"resnet50": "resnet50", "resnet101": "resnet101", "resnet152": "resnet152"},
        torchvision.resnet,
    ),
    Layout(
        "paddle.vision",
        "paddle",
        {
            "vgg16": "vgg16",
            "vgg16_bn": "vgg16(batch_norm=True)",
            "vgg19": "vgg19",
            "vgg19_bn": "vgg19(batch_norm=True)",
        },
        torchvision.vgg,
    ),
    Layout(
        "paddle.vision",
        "paddle",
        {
            "mobilenet_v2": "mobilenet_v2",
            "mobilenet_v2_x1_4": "mobilenet_v2(scale=1.4)",
            "mobilenet_v2_x0_75": "mobilenet_v2(scale=0.75)",
            "mobilenet_v2_x0_5": "mobilenet_v2(scale=0.5)",
            "mobilenet_v2_x0_35": "mobilenet_v2(scale=0.35)",
        },
        torchvision.mobilenet_v2,
    ),
    # its hard-sigmoid has a slope of 0.1666667 instead of 1/6, which changes the seventh digit
    Layout(
        "paddle.vision",
        "paddle",
        {
            "mobilenet_v3_large": "mobilenet_v3_large",
            "mobilenet_v3_large_x0_75": "mobilenet_v3_large(scale=0.75)",
            "mobilenet_v3_large_x0_5": "mobilenet_v3_large(scale=0.5)",
            "mobilenet_v3_large_x0_35": "mobilenet_v3_large(scale=0.35)",
            "mobilenet_v3_small": "mobilenet_v3_small",
            "mobilenet_v3_small_x0_75": "mobilenet_v3_small(scale=0.75)",
            "mobilenet_v3_small_x0_5": "mobilenet_v3_small(scale=0.5)",
            "mobilenet_v3_small_x0_35": "mobilenet_v3_small(scale=0.35)",
        },
        mobilenet_v3,
        {"hidden.weight": ()},
    ),
    Layout(
        "paddle.vision",
        "paddle",
        {
            "shufflenet_v2_x0_5_torchvision": "shufflenet_v2_x0_5",
            "shufflenet_v2_x1_0_torchvision": "shufflenet_v2_x1_0",
            "shufflenet_v2_x1_5_torchvision": "shufflenet_v2_x1_5",
        },
        shufflenet_v2,
        lookalikes={"shufflenet_v2_x1_0_torchvision": "shufflenet_v2_swish"},
    ),
    Layout(
        "paddle.vision",
        "paddle",
        {
            "densenet121": "densenet121",
            "densenet161": "densenet161",
            "densenet169": "densenet169",
            "densenet201": "densenet201",
        },
        densenet,
    ),
)
