"""Programs of parity_tests/architectures/test_efficientnet_v2.py and test_efficientnet_v2_packages.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from parity_tests.programs.common import (
    call,
    fill_mindspore_cells,
    fill_parameter,
    layers_of,
    model_error,
    random_images,
    weighted_cells,
)
from repro.interface.discovery import load_backend
from repro.specs.efficientnet_v2 import EfficientNetV2Spec, efficientnet_v2
from repro.weights.init import random_weights

Sides = tuple[int, int]


def window_sums(name: str, cases: list[tuple[int, int, int, int, str | None, int]]) -> list[Any]:
    """Outputs of convolutions whose weights are ones, for two images (4, H, W) of ones.

    A case is the kernel size, the stride, the height, the width, the padding and the number of groups.
    """
    outputs = []
    for kernel, stride, height, width, padding, groups in cases:
        layer = layers_of(name).conv(4, 4, kernel, stride, groups, padding=padding)
        fill_parameter(name, layer.weight, np.ones((4, 4 // groups, kernel, kernel)))
        outputs.append(call(name, layer, np.ones((2, 4, height, width), np.float32)).tolist())
    return outputs


def same_padding_of_one_pixel(name: str) -> Any:
    """The map after a 3x3 convolution with stride 2, "same" padding and the weights 1 to 9, for one pixel of 1.

    The pixel is in the third row and the last column of a 4x4 image.
    """
    layer = layers_of(name).conv(1, 1, 3, 2, padding="same")
    fill_parameter(name, layer.weight, np.arange(1, 10).reshape(1, 1, 3, 3))
    image = np.zeros((1, 1, 4, 4), np.float32)
    image[..., 2, 3] = 1
    return call(name, layer, image)[0, 0].tolist()


def squeeze_excite(name: str, pixels: list[float], activation: str, bias: bool) -> list[float]:
    """The output of a squeeze-and-excitation with weights of 1 and biases of 0, for an image (1, 2, 2)."""
    layer = layers_of(name).SqueezeExcite(1, 1, activation, "sigmoid", bias=bias)
    for convolution in (layer.reduce, layer.restore):
        fill_parameter(name, convolution.weight, 1)
        if bias:
            fill_parameter(name, convolution.bias, 0)
    return call(name, layer, np.array(pixels, np.float32).reshape(1, 1, 2, 2)).ravel().tolist()


def article_and_paper(name: str) -> dict[str, Any]:
    """Stages of the article's network and of the paper's, with the article's head and logits computed in NumPy."""
    backend = load_backend(name)
    images = random_images((2, 1, 64, 90), 0).astype(np.float32)
    variants = {"paper": "efficientnet_v2_s_same", "article": "efficientnet_v2_s_article"}
    models = {key: backend.create_model(variant, num_classes=4, in_channels=1) for key, variant in variants.items()}
    outputs = {}
    for key, model in models.items():
        backend.load_weights(model, random_weights(model.spec, 0))
        outputs[key] = backend.forward(model, images)
    article = outputs["article"]
    weights = random_weights(models["article"].spec, 0)
    means = article["stages.5.14"].mean((2, 3)) @ weights["head.conv.weight"][:, :, 0, 0].T
    scale, shift, mean, var = (
        weights[f"head.norm.{leaf}"] for leaf in ("weight", "bias", "running_mean", "running_var")
    )
    head = np.maximum((means - mean) / np.sqrt(var + 1e-3) * scale + shift, 0)
    logits = head @ weights["classifier.weight"].T + weights["classifier.bias"]
    without_shortcut = ("stages.1.0", "stages.3.0", "stages.5.0")
    return {
        "smallest outputs": {
            key: [float(stages[stage].min()) for stage in without_shortcut] for key, stages in outputs.items()
        },
        "smallest sums": {
            key: float((stages["stages.5.1"] - stages["stages.5.0"]).min()) for key, stages in outputs.items()
        },
        "shapes": {key: [stages["stages.5.14"].shape, stages["head"].shape] for key, stages in outputs.items()},
        "head is the mean": bool(np.allclose(article["head"][:, :, 0, 0], head, atol=1e-4)),
        "logits follow the head": bool(np.allclose(article["logits"], logits, atol=1e-4)),
    }


def drop_path_rates(name: str, rate: float) -> list[float]:
    """The drop-path rate of every block of EfficientNetV2-S."""
    model = load_backend(name).create_model("efficientnet_v2_s", drop_path=rate)
    return [float(block.drop_path.rate) for stage in model.stages for block in stage]


def _torch_pair(spec: EfficientNetV2Spec, create: Callable[[], Any]) -> tuple[Any, Any]:
    """Our torch model and another package's, with the same random weights in float64."""
    import torch

    from backends.torch import create_model

    with torch.device("meta"):  # both then take over the same float64 tensors
        models = create_model(spec), create()
    weights = {name: torch.from_numpy(array).double() for name, array in random_weights(spec, 3).items()}
    for model in models:
        names = [name for name in model.state_dict() if not name.endswith("num_batches_tracked")]
        shapes = [model.state_dict()[name].shape for name in names]
        assert shapes == [tensor.shape for tensor in weights.values()]
        # both list their weights in the order of the forward pass
        model.load_state_dict(dict(zip(names, weights.values(), strict=True)), strict=False, assign=True)
    return models


def _torch_error(ours: Any, reference: Any, sides: Sides) -> float:
    return model_error("torch", ours, reference, random_images((1, 3, *sides), 0))


def torchvision_errors(sides: list[Sides], same_sides: list[Sides]) -> dict[str, Any]:
    """Relative errors of EfficientNetV2-S in float64: as torchvision pads it, and with "same" padding; its settings."""
    import torch
    import torchvision

    def create() -> Any:
        return torchvision.models.efficientnet_v2_s(num_classes=7)

    spec = efficientnet_v2("s", num_classes=7)
    ours, reference = _torch_pair(spec, create)
    same, same_theirs = _torch_pair(replace(spec, padding="same"), create)
    norms = [module for module in reference.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    return {
        "errors": [_torch_error(ours, reference, side) for side in sides],
        "errors with same padding": [_torch_error(same, same_theirs, side) for side in same_sides],
        "settings": [spec.dropout, [[spec.norm_eps, spec.norm_momentum]]],
        "torchvision settings": [
            reference.classifier[0].p, sorted({(norm.eps, norm.momentum) for norm in norms}),
        ],
        "drop-path rates": [spec.drop_path * block.depth for stage in spec.stages for block in stage],
        "torchvision drop-path rates": [
            block.stochastic_depth.p for stage in reference.features[1:-1] for block in stage
        ],
    }  # fmt: skip


def timm_port_error(size: str, sides: Sides) -> float:
    """The relative error in float64 against timm's port of the authors' network, which pads as TensorFlow does."""
    import timm

    spec = efficientnet_v2(size, padding="same", num_classes=7)
    name = f"tf_efficientnetv2_{size}"
    ours, reference = _torch_pair(spec, lambda: timm.create_model(name, pretrained=False, num_classes=7))
    return _torch_error(ours, reference, sides)


def timm_errors(sides: Sides) -> dict[str, float]:
    """The relative errors in float64 against timm's own network: with its epsilon of 1e-5, and with ours of 1e-3."""
    import timm
    import torch

    spec = efficientnet_v2("s", num_classes=7)
    ours, reference = _torch_pair(
        spec, lambda: timm.create_model("efficientnetv2_s", pretrained=False, num_classes=7)
    )  # fmt: skip
    reference_epsilon = _torch_error(ours, reference, sides)
    for norm in (module for module in reference.modules() if isinstance(module, torch.nn.BatchNorm2d)):
        assert norm.eps == 1e-5
        norm.eps = 1e-3
    return {"reference epsilon": reference_epsilon, "our epsilon": _torch_error(ours, reference, sides)}


def mindcv_errors(sides: list[Sides]) -> dict[str, list[float]]:
    """Relative errors against MindCV at each height and width, with "same" and with symmetric padding.

    "our epsilon" is 1e-3; the others use MindCV's, 1e-5.
    """
    from mindcv.models import efficientnet

    from backends.mindspore import create_model, load_weights

    reference = efficientnet.efficientnet_v2_s(num_classes=7)

    def errors(spec: EfficientNetV2Spec) -> list[float]:
        ours, weights = create_model(spec), random_weights(spec, 3)
        load_weights(ours, weights)
        fill_mindspore_cells(weighted_cells(reference), spec, weights)
        batches = [random_images((1, 3, *side), 0).astype(np.float32) for side in sides]
        return [model_error("mindspore", ours, reference, batch) for batch in batches]

    spec = efficientnet_v2("s", padding="same", num_classes=7)
    equal = replace(spec, norm_eps=1e-5)
    return {
        "our epsilon": errors(spec),
        "reference epsilon": errors(equal),
        "symmetric padding": errors(replace(equal, padding=None)),
    }
