"""The names of weights in keras.applications, which publishes .h5 files."""

from __future__ import annotations

from repro.specs import Spec
from repro.weights.layouts.base import Layout

OUTER = {"stem": "conv1_conv", "norm": "post_bn", "classifier": "predictions"}
INNER = {  # inside a block
    "norm": "preact_bn",
    "shortcut": "0_conv",
    "reduce.conv": "1_conv",
    "reduce.norm": "1_bn",
    "spatial.conv": "2_conv",
    "spatial.norm": "2_bn",
    "restore": "3_conv",
}


def resnet_v2(name: str, spec: Spec) -> str:
    """Return Keras's name of a weight: stages count from 2 and blocks from 1."""
    path, _, leaf = name.rpartition(".")
    if path in OUTER:
        return f"{OUTER[path]}.{leaf}"
    _, stage, index, part = path.split(".", 3)
    return f"conv{int(stage) + 2}_block{int(index) + 1}_{INNER[part]}.{leaf}"


LAYOUTS: tuple[Layout, ...] = (
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
)
