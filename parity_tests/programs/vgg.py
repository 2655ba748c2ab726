"""Programs of parity_tests/architectures/test_vgg.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from parity_tests.programs.common import (
    call,
    fill_mindspore,
    fill_paddle,
    fill_torch,
    model_error,
    random_images,
    to_tensor,
)
from repro.interface import TrainSettings
from repro.interface.discovery import load_backend
from repro.interface.dropout_source import SeededDropout
from repro.specs import vgg
from repro.weights.init import random_weights

HIDDEN = 16  # channels of the hidden linear layers; 4,096 would be slow
LINEAR_LAYERS = {0: (512 * 49, HIDDEN), 3: (HIDDEN, HIDDEN), 6: (HIDDEN, 1000)}


def _use_small_hidden_layers() -> None:
    """Shrink the hidden layers of specs, and of the backend's models unless they are imported already."""
    vgg.HIDDEN = HIDDEN


def grid_outputs(name: str, inputs: list[Any]) -> list[Any]:
    """The maps of 7x7 to which the network resizes maps (1, C, H, W) before its linear layers."""
    _use_small_hidden_layers()
    model = load_backend(name).create_model("vgg16", num_classes=3)
    return [call(name, model.grid, np.array(array, np.float32)).tolist() for array in inputs]


def accepts_smaller_images(name: str) -> bool:
    """Return whether the native model takes images of less than 32 pixels a side; it must take those of 32."""
    _use_small_hidden_layers()
    model = load_backend(name).create_model("vgg16", num_classes=3)
    images = to_tensor(name, np.ones((1, 3, 32, 32), np.float32))
    assert tuple(model(images).shape) == (1, 3)
    try:
        model(images[:, :, 1:])
    except (RuntimeError, ValueError):
        return False
    return True


def _renamer(spec: vgg.VGGSpec) -> Callable[[str], str]:
    """The function that maps our names to torchvision's, which number all layers without weights, too."""
    names, number = {}, 0
    for stage_index, stage in enumerate(spec.stages):
        for index, _ in enumerate(stage):
            names[f"stages.{stage_index}.{index}.conv"] = f"features.{number}"
            if spec.normalised:
                names[f"stages.{stage_index}.{index}.norm"] = f"features.{number + 1}"
            number += 3 if spec.normalised else 2
        number += 1
    names |= {"hidden1": "classifier.0", "hidden2": "classifier.3", "classifier": "classifier.6"}

    def rename(name: str) -> str:
        path, _, leaf = name.rpartition(".")
        return f"{names[path]}.{leaf}"

    return rename


def torchvision_errors(name: str, sizes: list[int]) -> list[float]:
    """Relative errors against torchvision at each image size, in float64."""
    import torch
    import torchvision

    _use_small_hidden_layers()
    from backends.torch import create_model, load_weights

    ours = create_model(name)
    with torch.device("meta"):
        reference = getattr(torchvision.models, name)(init_weights=False)
        for index, channels in LINEAR_LAYERS.items():
            reference.classifier[index] = torch.nn.Linear(*channels)
    reference.to_empty(device="cpu")
    weights = random_weights(ours.spec, 3)
    load_weights(ours, weights)
    fill_torch(reference, weights, _renamer(ours.spec))
    ours, reference = ours.double(), reference.double()
    return [model_error("torch", ours, reference, random_images((2, 3, size, size), size)) for size in sizes]


def paddle_errors(name: str, sizes: list[int]) -> list[float]:
    """Relative errors against paddle.vision at each image size, in float64."""
    import paddle

    _use_small_hidden_layers()
    from backends.paddle import create_model, load_weights
    from backends.paddle.native_weights import NAMES

    reference = getattr(paddle.vision.models, name.removesuffix("_bn"))(batch_norm=name.endswith("_bn"))
    for index, channels in LINEAR_LAYERS.items():
        reference.classifier[index] = paddle.nn.Linear(*channels)
    reference.to(dtype="float64")
    paddle.set_default_dtype("float64")
    ours = create_model(name)
    weights = random_weights(ours.spec, 3)
    load_weights(ours, weights)
    fill_paddle(reference, NAMES.to_native(weights, ours.spec.weights), _renamer(ours.spec))
    return [model_error("paddle", ours, reference, random_images((2, 3, size, size), size)) for size in sizes]


def mindcv_without_biases(size: int) -> dict[str, Any]:
    """Parameters that MindCV's vgg19 lacks, and the relative error against it where they are zero in ours."""
    import mindspore
    from mindcv.models import vgg19

    from backends.mindspore import create_model, load_weights
    from backends.mindspore.native_weights import NAMES

    mindspore.set_context(mode=mindspore.PYNATIVE_MODE)
    ours, reference = create_model("vgg19"), vgg19()
    weights = random_weights(ours.spec, 3)
    biases = {name for name in weights if name.endswith("conv.bias")}
    for name in biases:
        weights[name][:] = 0
    load_weights(ours, weights)
    native = NAMES.to_native(weights, ours.spec.weights)
    fill_mindspore(reference, {name: native[name] for name in native if name not in biases}, _renamer(ours.spec))
    images = random_images((1, 3, size, size), size).astype(np.float32)
    return {
        "biases": sum(weights[name].size for name in biases),
        "mindcv_parameters": sum(parameter.size for parameter in reference.trainable_params()),
        "error": model_error("mindspore", ours, reference, images),
    }


class RecordedDropout(SeededDropout):
    """The source of a trainer's dropout, with the names of the layers that drew from it."""

    def __init__(self) -> None:
        super().__init__(0)
        self.layers: list[str] = []

    def __call__(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        self.layers.append(name)
        return super().__call__(name, shape)


def dropout_of_a_step(name: str) -> list[tuple[list[str], float]]:
    """Return the layers for which a step draws numbers, and its loss; of MindSpore, compiled and eager."""
    _use_small_hidden_layers()
    backend = load_backend(name)
    spec = vgg.vgg(depth=16, num_classes=3)
    images = random_images((4, 3, 32, 32), 0).astype(np.float32)
    results = []
    for compiled in (None, False) if name == "mindspore" else (None,):
        model, source = backend.create_model(spec), RecordedDropout()
        backend.set_dropout_source(model, source)
        trainer = backend.create_trainer(model, TrainSettings(momentum=0.0, compiled=compiled))
        trainer.load_weights(random_weights(spec, 0))
        loss, _ = trainer.step(images, np.arange(4) % 3, 0.1)
        results.append((source.layers, float(loss)))
    return results
