"""Programs of parity_tests/architectures/test_shufflenet_v2.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from parity_tests.programs.common import (
    call,
    fill_mindspore_cells,
    fill_paddle,
    fill_torch,
    identity_weights,
    model_error,
    random_images,
)
from repro.interface.discovery import load_backend
from repro.specs import shufflenet_v2 as specs
from repro.specs.shufflenet_v2 import Unit, shufflenet_v2
from repro.weights.init import random_weights


def unit_output(name: str, structure: str, unit: dict[str, Any], images: list[Any]) -> list[Any]:
    """The output (N, C, H, W) of a unit whose convolutions return their inputs, repeated in turns where they widen.

    The last convolution of the branch multiplies by 10.
    """
    backend = load_backend(name)
    block = Unit(**unit)
    spec = replace(
        shufflenet_v2(structure, width=0.5, num_classes=2), stem=block.channels_in, stages=((block,),)  # type: ignore[arg-type]
    )  # fmt: skip
    weights = identity_weights(spec)
    for key in weights:
        if "branch.2" in key and spec.weights[key].kind == "conv":
            weights[key] *= 10
    model = backend.create_model(spec)
    backend.load_weights(model, weights)
    return call(name, model.stages[0][0], np.array(images, np.float32)).tolist()


def shapes_of_small_images(name: str, sides: list[tuple[int, int]]) -> dict[str, Any]:
    """The spec's smallest size, and the shapes of the last map and the logits for two images of each size."""
    backend = load_backend(name)
    model = backend.create_model("shufflenet_v2_x0_5", num_classes=2, in_channels=1)
    shapes = []
    for height, width in sides:
        outputs = backend.forward(model, np.ones((2, 1, height, width), np.float32))
        shapes.append([outputs["last"].shape, outputs["logits"].shape])
    return {"smallest size": model.spec.min_size, "shapes": shapes}


def torchvision_errors(width: str, sides: list[int]) -> list[float]:
    """Relative errors for square images of each size, in float64. `width` is that of the names, such as "x0_5"."""
    import torchvision

    from backends.torch import create_model, load_weights

    ours = create_model(f"shufflenet_v2_{width}_torchvision")
    reference = getattr(torchvision.models, f"shufflenet_v2_{width}")()
    weights = random_weights(ours.spec, 3)
    load_weights(ours, weights)
    fill_torch(reference, weights)
    ours, reference = ours.double(), reference.double()
    return [model_error("torch", ours, reference, random_images((2, 3, side, side), side)) for side in sides]


def _paddle_model(width: str) -> Any:
    import paddle

    paddle.set_default_dtype("float64")
    model = getattr(paddle.vision.models, f"shufflenet_v2_{width}")()
    paddle.set_default_dtype("float32")
    return model


def paddle_error(width: str, side: int, channels: list[int] | None = None) -> float:
    """The relative error for square images, in float64. `channels` replaces the four of the spec's table."""
    from backends.paddle import create_model, load_weights, to_float64
    from backends.paddle.native_weights import NAMES

    if channels:
        specs.CHANNELS[float(width[1:].replace("_", "."))] = tuple(channels)  # type: ignore[assignment]
    reference = _paddle_model(width)
    spec = create_model(f"shufflenet_v2_{width}_torchvision").spec
    weights = random_weights(spec, 3)
    fill_paddle(reference, NAMES.to_native(weights, spec.weights))
    ours = to_float64(lambda: create_model(spec))
    load_weights(ours, weights)
    images = random_images((2, 3, side, side), side)
    outputs = call("paddle", ours, images), call("paddle", reference, images)
    assert {output.dtype for output in outputs} == {np.dtype(np.float64)}
    return model_error("paddle", ours, reference, images)


def paddle_weights(width: str) -> dict[str, Any]:
    """Parameters, and shapes of weights, of our network in torchvision's structure and of Paddle's."""
    from backends.paddle import create_model

    ours, reference = create_model(f"shufflenet_v2_{width}_torchvision"), _paddle_model(width)
    parameters = reference.parameters()
    return {
        "parameters": ours.spec.params,
        "paddle parameters": sum(int(parameter.size) for parameter in parameters if parameter.trainable),
        "shape in the second stage": list(ours.stages[0][1].branch[0].conv.weight.shape),
        "paddle shapes": [list(parameter.shape) for parameter in parameters],
    }


def mindcv_errors(width: str, sides: list[int]) -> dict[str, Any]:
    """Relative errors for square images: with MindCV's pooling, and with a pooling that pads on both sides."""
    from mindcv.models import shufflenetv2
    from mindspore import nn

    from backends.mindspore import create_model, load_weights

    ours = create_model(f"shufflenet_v2_{width}")
    reference = getattr(shufflenetv2, f"shufflenet_v2_{width}")()
    weights = random_weights(ours.spec, 3)
    load_weights(ours, weights)
    sequences = [reference.first_conv]  # in the order of the forward pass
    for block in reference.features:
        sequences += [block.branch_main] if block.branch_proj is None else [block.branch_proj, block.branch_main]
    sequences += [reference.conv_last, nn.SequentialCell(reference.classifier)]
    cells = [cell for sequence in sequences for cell in sequence if not isinstance(cell, nn.ReLU)]
    fill_mindspore_cells(cells, ours.spec, weights)

    def errors() -> dict[str, float]:
        batches = {str(side): random_images((2, 3, side, side), side).astype(np.float32) for side in sides}
        return {side: model_error("mindspore", ours, reference, batch) for side, batch in batches.items()}

    their_pooling = errors()
    reference.max_pool = nn.MaxPool2d(3, 2, pad_mode="pad", padding=1)
    return {
        "their pooling": their_pooling,
        "our pooling": errors(),
        "has dropout": any(isinstance(cell, nn.Dropout) for _, cell in reference.cells_and_names()),
    }
