"""Programs of parity_tests/architectures/test_mobilenet_v3.py: relative errors of our logits against other packages."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from parity_tests.programs.common import (
    fill_mindspore_cells,
    fill_paddle,
    fill_torch,
    model_error,
    random_images,
    weighted_cells,
)
from repro.specs.asymmnet import AsymmNetSpec, mobilenet_v3
from repro.weights.init import random_weights


def torchvision_errors(size: str, width: float, shapes: list[tuple[int, int]]) -> dict[str, Any]:
    """Relative errors in float64 at each height and width; dropout, epsilon and momentum of ours and of torchvision."""
    from torchvision.models import mobilenetv3

    from backends.torch import create_model, load_weights

    ours = create_model(f"mobilenet_v3_{size}", width=width, num_classes=7)
    setting, last = mobilenetv3._mobilenet_v3_conf(f"mobilenet_v3_{size}", width_mult=width)
    reference = mobilenetv3.MobileNetV3(setting, last, num_classes=7)
    weights = random_weights(ours.spec, 3)
    load_weights(ours, weights)
    fill_torch(reference, weights)
    ours, reference = ours.double(), reference.double()
    norm = reference.features[0][1]
    return {
        "errors": [model_error("torch", ours, reference, random_images((1, 3, *shape), shape[0])) for shape in shapes],
        "settings": [ours.spec.dropout, ours.spec.norm_eps, ours.spec.norm_momentum],
        "torchvision_settings": [reference.classifier[2].p, norm.eps, norm.momentum],
    }


def paddle_errors(size: str, width: float, shapes: list[tuple[int, int]]) -> dict[str, list[float]]:
    """Relative errors in float64 at each height and width: with Paddle's hard sigmoid, and with ours in its place."""
    import paddle
    from paddle.vision.models import mobilenetv3

    from backends.paddle import create_model, load_weights
    from backends.paddle.layers import HardSigmoid
    from backends.paddle.native_weights import NAMES

    paddle.set_default_dtype("float64")
    ours = create_model(f"mobilenet_v3_{size}", width=width, num_classes=7)
    reference = getattr(mobilenetv3, f"mobilenet_v3_{size}")(scale=width, num_classes=7)
    weights = random_weights(ours.spec, 3)
    load_weights(ours, weights)
    native = NAMES.to_native(weights, ours.spec.weights)
    native["hidden.weight"] = native["hidden.weight"][:, :, 0, 0].T  # a linear layer in Paddle
    fill_paddle(reference, native)

    def errors() -> list[float]:
        return [model_error("paddle", ours, reference, random_images((1, 3, *shape), shape[0])) for shape in shapes]

    results = {"their hard sigmoid": errors()}
    for layer in reference.sublayers():
        if isinstance(layer, mobilenetv3.SqueezeExcitation):
            layer.scale_activation = HardSigmoid()
    return results | {"our hard sigmoid": errors()}


def mindcv_errors(size: str, width: float, shapes: list[tuple[int, int]]) -> dict[str, list[float]]:
    """Relative errors at each height and width: with our epsilon, and with MindCV's in its place."""
    from mindcv.models.mobilenetv3 import MobileNetV3

    from backends.mindspore import create_model, load_weights

    spec = mobilenet_v3(size, width=width, num_classes=7)
    reference = MobileNetV3(size, alpha=width, num_classes=7)
    weights = random_weights(spec, 3)
    fill_mindspore_cells(weighted_cells(reference), spec, weights)

    def errors(spec: AsymmNetSpec) -> list[float]:
        ours = create_model(spec)
        load_weights(ours, weights)
        batches = [random_images((1, 3, *shape), shape[0]).astype(np.float32) for shape in shapes]
        return [model_error("mindspore", ours, reference, batch) for batch in batches]

    return {"our epsilon": errors(spec), "reference epsilon": errors(replace(spec, norm_eps=1e-5))}
