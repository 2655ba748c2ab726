"""Programs of parity_tests/architectures/test_mobilenet_v2.py: relative errors of our logits against other packages."""

from __future__ import annotations

from typing import Any

import numpy as np

from parity_tests.programs.common import (
    Shape,
    fill_mindspore_cells,
    fill_paddle,
    fill_torch,
    model_error,
    random_images,
    weighted_cells,
)
from repro.weights.init import random_weights


def torchvision_errors(width: float, shapes: list[Shape]) -> dict[str, Any]:
    """Relative errors in float64 for batches (N, 3, H, W); dropout, epsilon and momentum of ours and of torchvision."""
    import torchvision

    from backends.torch import create_model, load_weights

    ours = create_model("mobilenet_v2", width=width, num_classes=7)
    reference = torchvision.models.mobilenet_v2(width_mult=width, num_classes=7)
    weights = random_weights(ours.spec, 3)
    load_weights(ours, weights)
    fill_torch(reference, weights)
    ours, reference = ours.double(), reference.double()
    norm = reference.features[0][1]
    return {
        "errors": [
            model_error("torch", ours, reference, random_images(shape, seed)) for seed, shape in enumerate(shapes)
        ],
        "settings": [ours.spec.dropout, ours.spec.norm_eps, ours.spec.norm_momentum],
        "layer_dropout": ours.dropout.p,
        "torchvision_settings": [reference.classifier[0].p, norm.eps, norm.momentum],
    }


def paddle_errors(width: float, shapes: list[Shape]) -> list[float]:
    """Relative errors in float64 for batches (N, 3, H, W)."""
    import paddle

    from backends.paddle import create_model, load_weights
    from backends.paddle.native_weights import NAMES

    paddle.set_default_dtype("float64")
    ours = create_model("mobilenet_v2", width=width, num_classes=7)
    reference = paddle.vision.models.mobilenet_v2(scale=width, num_classes=7)
    weights = random_weights(ours.spec, 3)
    load_weights(ours, weights)
    fill_paddle(reference, NAMES.to_native(weights, ours.spec.weights))
    return [model_error("paddle", ours, reference, random_images(shape, seed)) for seed, shape in enumerate(shapes)]


def mindcv_errors(width: float, shapes: list[Shape]) -> list[float]:
    """Relative errors for batches (N, 3, H, W)."""
    from mindcv.models.mobilenetv2 import MobileNetV2

    from backends.mindspore import create_model, load_weights

    ours = create_model("mobilenet_v2", width=width, num_classes=7)
    reference = MobileNetV2(alpha=width, num_classes=7)
    weights = random_weights(ours.spec, 3)
    load_weights(ours, weights)
    fill_mindspore_cells(weighted_cells(reference), ours.spec, weights)
    batches = [random_images(shape, seed).astype(np.float32) for seed, shape in enumerate(shapes)]
    return [model_error("mindspore", ours, reference, batch) for batch in batches]
