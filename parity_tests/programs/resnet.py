"""Programs of parity_tests/architectures/test_resnet.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from parity_tests.programs.common import (
    call,
    fill_mindspore,
    fill_paddle,
    fill_torch,
    model_error,
    random_images,
)
from repro.interface.discovery import load_backend
from repro.weights.init import random_weights


def operators(name: str) -> dict[str, Any]:
    """Outputs of the operators in which Keras's ResNet V2 differs; see the test for their inputs."""
    backend = load_backend(name)
    keras, article = backend.create_model("resnet50_v2_keras"), backend.create_model("resnet50_v2_article")
    negative = np.full((1, 64, 4, 4), -1, np.float32)
    ramp = np.arange(256 * 5 * 4, dtype=np.float32).reshape(1, 256, 5, 4)
    pixel = np.ones((1, 3, 1, 1), np.float32)
    models = {"keras": keras, "resnet50": backend.create_model("resnet50")}
    return {
        "keras pooling": call(name, keras.pool, negative)[0].tolist(),
        "article pooling": call(name, article.pool, negative)[0].tolist(),
        "strided shortcut": np.array_equal(call(name, keras.stages[0][2].shortcut, ramp), ramp[:, :, ::2, ::2]),
        "plain shortcut": np.array_equal(call(name, keras.stages[0][1].shortcut, ramp), ramp),
        "smallest sizes": [model.spec.min_size for model in models.values()],
        "logits of a pixel": [backend.forward(model, pixel)["logits"].tolist() for model in models.values()],
    }


def torchvision_name(name: str) -> str:
    """Torchvision's name of one of our weights; Paddle has the same names."""
    if name.startswith("stages."):
        _, number, rest = name.split(".", 2)
        name = f"layer{int(number) + 1}.{rest}"
    for part, number in {"reduce": "1", "spatial": "2", "restore": "3", "stem": "1"}.items():
        name = name.replace(f"{part}.conv.", f"conv{number}.").replace(f"{part}.norm.", f"bn{number}.")
    for ours, reference in (
        ("shortcut.conv.", "downsample.0."),
        ("shortcut.norm.", "downsample.1."),
        ("classifier", "fc"),
    ):
        name = name.replace(ours, reference)
    return name


def mindcv_name(name: str) -> str:
    """MindCV's name of a weight under MindSpore's name."""
    return torchvision_name(name).replace("downsample", "down_sample").replace("fc.", "classifier.")


def timm_name(name: str) -> str:
    """timm's name of one of our weights in ResNet V2."""
    name = name.replace("classifier", "head.fc").replace("shortcut.", "downsample.conv.")
    if name.startswith("stem."):
        return name.replace("stem.", "stem.conv.")
    if not name.startswith("stages."):
        return name
    _, number, index, rest = name.split(".", 3)
    # norm1 precedes conv1 in timm; our reduce.norm follows reduce.conv
    rest = rest.replace("restore.", "conv3.").replace("spatial.norm", "norm3").replace("spatial.conv", "conv2")
    rest = rest.replace("reduce.norm", "norm2").replace("reduce.conv", "conv1")
    rest = "norm1" + rest[4:] if rest.startswith("norm.") else rest
    return f"stages.{number}.blocks.{index}.{rest}"


def torch_errors(package: str, sizes: list[int]) -> list[float]:
    """Relative errors of resnet50 in torchvision, or of resnet50_v2 in timm, at each image size, in float64."""
    from backends.torch import create_model, load_weights

    if package == "torchvision":
        import torchvision

        ours, reference, rename = create_model("resnet50"), torchvision.models.resnet50(), torchvision_name
    else:
        import timm

        ours, reference, rename = create_model("resnet50_v2"), timm.create_model("resnetv2_50"), timm_name
    weights = random_weights(ours.spec, 3)
    load_weights(ours, weights)
    fill_torch(reference, weights, rename)
    ours, reference = ours.double(), reference.double()
    return [model_error("torch", ours, reference, random_images((2, 3, size, size), size)) for size in sizes]


def paddle_errors(sizes: list[int]) -> list[float]:
    """Relative errors of resnet50 against paddle.vision at each image size, in float64."""
    import paddle

    from backends.paddle import create_model, load_weights
    from backends.paddle.native_weights import NAMES

    paddle.set_default_dtype("float64")
    ours, reference = create_model("resnet50"), paddle.vision.models.resnet50()
    weights = random_weights(ours.spec, 3)
    load_weights(ours, weights)
    fill_paddle(reference, NAMES.to_native(weights, ours.spec.weights), torchvision_name)
    return [model_error("paddle", ours, reference, random_images((2, 3, size, size), size)) for size in sizes]


def mindcv_errors(sizes: list[int]) -> list[float]:
    """Relative errors of resnet50 against MindCV at each image size."""
    import mindspore
    from mindcv.models import resnet50

    from backends.mindspore import create_model, load_weights
    from backends.mindspore.native_weights import NAMES

    mindspore.set_context(mode=mindspore.PYNATIVE_MODE)
    ours, reference = create_model("resnet50"), resnet50()
    weights = random_weights(ours.spec, 3)
    load_weights(ours, weights)
    fill_mindspore(reference, NAMES.to_native(weights, ours.spec.weights), mindcv_name)
    batches = [random_images((2, 3, size, size), size).astype(np.float32) for size in sizes]
    return [model_error("mindspore", ours, reference, batch) for batch in batches]


def mindcv_resnet_v2() -> dict[str, Any]:
    """Names and parameters of MindCV's resnetv2_50, and values before the classifier of its model and ours."""
    import mindspore
    from mindcv.models import resnetv2_50

    from backends.mindspore import create_model

    mindspore.set_context(mode=mindspore.PYNATIVE_MODE)
    reference = resnetv2_50().set_train(False)
    images = mindspore.Tensor(random_images((2, 3, 64, 64), 64).astype(np.float32))
    features = reference.forward_features(images)
    logits = reference(images).asnumpy()
    from_features = reference.classifier(features.mean((2, 3))).asnumpy()
    ours = create_model("resnet50_v2").set_train(False)
    inputs: list[float] = []
    ours.classifier.register_forward_hook(lambda cell, args, output: inputs.append(float(args[0].asnumpy().min())))
    ours(images)
    return {
        "names": sorted(reference.parameters_dict()),
        "our names": sorted(ours.parameters_dict()),
        "parameters": sum(parameter.size for parameter in reference.trainable_params()),
        "smallest feature": float(features.asnumpy().min()),
        "error of logits from averaged features": float(np.abs(from_features - logits).max() / np.abs(logits).max()),
        "our smallest feature": inputs[0],
    }
