"""Programs of parity_tests/architectures/test_shufflenet_v1.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from parity_tests.programs.common import (
    Shape,
    call,
    fill_mindspore_cells,
    identity_weights,
    model_error,
    random_images,
    weighted_cells,
)
from repro.interface.discovery import load_backend
from repro.specs.shufflenet_v1 import Unit, shufflenet_v1
from repro.weights.init import random_weights


def unit_output(name: str, unit: dict[str, Any], images: list[Any]) -> list[Any]:
    """The output (N, C, H, W) of a unit whose convolutions return their inputs, repeated in turns where they widen."""
    backend = load_backend(name)
    block = Unit(**unit)
    spec = replace(shufflenet_v1(3, width=0.25, num_classes=2), stem=block.channels_in, stages=((block,),))
    model = backend.create_model(spec)
    backend.load_weights(model, identity_weights(spec))
    return call(name, model.stages[0][0], np.array(images, np.float32)).tolist()


def shapes_of_small_images(name: str, sides: list[tuple[int, int]]) -> dict[str, Any]:
    """The spec's smallest size, and the shapes of the last stage and the logits for two images of each size."""
    backend = load_backend(name)
    model = backend.create_model("shufflenet_v1_g3_x0_25", num_classes=2)
    shapes = []
    for height, width in sides:
        outputs = backend.forward(model, np.ones((2, 3, height, width), np.float32))
        shapes.append([outputs["stages.2.3"].shape, outputs["logits"].shape])
    return {"smallest size": model.spec.min_size, "shapes": shapes}


def _pool_as_here(model: Any, poolings: list[str]) -> None:
    """Replace poolings of MindCV's model, "max" and "mean", by those that pad on both sides."""
    from mindspore import nn

    for _, cell in list(model.cells_and_names()):
        if "max" in poolings and hasattr(cell, "max_pool"):
            cell.max_pool = nn.MaxPool2d(3, 2, pad_mode="pad", padding=1)
        if "mean" in poolings and hasattr(cell, "branch_proj"):
            cell.branch_proj = nn.AvgPool2d(3, 2, pad_mode="pad", padding=1, count_include_pad=True)


def mindcv_errors(groups: int, width: str, sides: list[int], poolings: list[str]) -> list[float]:
    """Relative errors against MindCV for square images of each size, with some of its poolings replaced.

    `width` is that of MindCV's names, such as "05".
    """
    from mindcv.models import shufflenetv1

    from backends.mindspore import create_model, load_weights

    ours = create_model(f"shufflenet_v1_g{groups}_x{width[0]}_{width[1]}")
    reference = getattr(shufflenetv1, f"shufflenet_v1_g{groups}_{width}")()
    weights = random_weights(ours.spec, 3)
    load_weights(ours, weights)
    shuffled = dict(weights)
    for stage_index, stage in enumerate(ours.spec.stages):
        for index, block in enumerate(stage):
            # MindCV shuffles before the depthwise convolution, the authors after it
            order = np.arange(block.middle).reshape(-1, groups).T.ravel()
            prefix = f"stages.{stage_index}.{index}.depthwise."
            shuffled |= {name: weights[name][order] for name in weights if name.startswith(prefix)}
    fill_mindspore_cells(weighted_cells(reference), ours.spec, shuffled)
    _pool_as_here(reference, poolings)
    shapes: list[Shape] = [(2, 3, side, side) for side in sides]
    return [model_error("mindspore", ours, reference, random_images(s, s[2]).astype(np.float32)) for s in shapes]
