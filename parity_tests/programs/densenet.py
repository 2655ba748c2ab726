"""Programs of parity_tests/architectures/test_densenet.py."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np

from parity_tests.programs.common import (
    Shape,
    fill_paddle,
    fill_torch,
    model_error,
    plain_weights,
    random_images,
)
from repro.interface.discovery import load_backend
from repro.specs.densenet import Block, Stage, densenet
from repro.weights.init import random_weights


def small_network(name: str) -> dict[str, Any]:
    """Stages of a network of two blocks of one channel each, with a transition between them."""
    backend = load_backend(name)
    stages = (Stage(None, (Block(1, 1, 1),)), Stage((2, 1), (Block(1, 1, 1),)))
    spec = replace(densenet(121, num_classes=1, in_channels=1), stem=1, stages=stages)
    weights = plain_weights(spec)
    weights["stem.conv.weight"][0, 0, 3, 3] = 1
    block = "stages.0.blocks.0."
    weights[block + "norm1.bias"][:] = -3  # 1 - 3 is negative: after the ReLU, the first convolution sees zeros
    weights[block + "conv1.weight"][:] = 100
    weights[block + "norm2.bias"][:] = 5
    weights[block + "conv2.weight"][0, 0, 1, 1] = 2  # 10
    weights["stages.1.transition.norm.weight"][:] = 1, -1  # 1 and, after the ReLU, 0
    weights["stages.1.transition.conv.weight"][0, :, 0, 0] = 4, 100
    weights["norm.weight"][:] = 1, 1
    weights["norm.bias"][:] = -1, -1
    weights["classifier.weight"][:] = 5, 1000  # (4 - 1) * 5; the ReLU leaves 0 of the other channel
    model = backend.create_model(spec)
    backend.load_weights(model, weights)
    image = np.zeros((1, 1, 8, 8), np.float32)
    image[..., :4, ::2] = 1  # the stem keeps even rows and columns, and the pooling spreads the ones over one more row
    outputs = backend.forward(model, image)
    return {name: outputs[name].ravel().tolist() for name in ("stages.0", "stages.1.transition", "logits")}


def _torchvision_name(name: str) -> str:
    # a transition begins a stage here, and ends one in torchvision
    name = re.sub(r"^stages[.](.)[.]transition", r"features.transition\1", name)
    name = re.sub(
        r"^stages[.](.)[.]blocks[.](\d+)",
        lambda match: f"features.denseblock{int(match[1]) + 1}.denselayer{int(match[2]) + 1}",
        name,
    )
    name = re.sub("^norm[.]", "features.norm5.", name)
    return name.replace("stem.conv", "features.conv0").replace("stem.norm", "features.norm0")


def torchvision_errors(shapes: list[Shape]) -> list[float]:
    """Relative errors of densenet121 against torchvision for batches (N, 3, H, W), in float64."""
    import torchvision

    from backends.torch import create_model, load_weights

    ours, reference = create_model("densenet121", num_classes=7), torchvision.models.densenet121(num_classes=7)
    weights = random_weights(ours.spec, 3)
    load_weights(ours, weights)
    fill_torch(reference, weights, _torchvision_name)
    ours, reference = ours.double(), reference.double()
    return [model_error("torch", ours, reference, random_images(shape, seed)) for seed, shape in enumerate(shapes)]


def paddle_errors(shapes: list[Shape]) -> list[float]:
    """Relative errors of densenet121 against paddle.vision for batches (N, 3, H, W), in float64."""
    import importlib
    from functools import partial

    import paddle

    from backends.paddle import create_model, load_weights
    from backends.paddle.native_weights import NAMES

    module: Any = importlib.import_module("paddle.vision.models.densenet")
    module.BatchNorm = partial(module.BatchNorm, dtype="float64")  # an old layer that ignores the default dtype
    paddle.set_default_dtype("float64")
    ours, reference = create_model("densenet121", num_classes=7), module.densenet121(num_classes=7)
    weights = random_weights(ours.spec, 3)
    load_weights(ours, weights)
    fill_paddle(reference, NAMES.to_native(weights, ours.spec.weights))
    return [model_error("paddle", ours, reference, random_images(shape, seed)) for seed, shape in enumerate(shapes)]
