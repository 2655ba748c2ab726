"""A program that asks a publisher's installed package about its weights, in a process of its own.

    python -m repro.published.query PUBLISHER ANSWER_FILE VARIANT=MODEL ...

It writes a JSON list of the fields of PublishedWeights. Packages are imported by name here because importing them loads
their framework, which the core never does in its own process.
"""

from __future__ import annotations

import ast
import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

from repro.specs import find_spec

Row = dict[str, Any]


def torchvision(variant: str, model: str) -> Iterator[Row]:
    """Yield a row for each of the model's weight enumeration members, the default first."""
    if "(" in model:  # widths without published weights
        return
    weights = import_module("torchvision.models").get_model_weights(model)
    for member in sorted(weights, key=lambda member: member != weights.DEFAULT):
        transform, meta = member.transforms(), member.meta
        if not meta.get("categories"):  # VGG's features without a classifier
            continue
        (size,), (resize,) = transform.crop_size, transform.resize_size
        yield {
            "name": f"{model}.{member.name}",
            "variant": variant,
            "file": Path(member.url).name,
            "url": member.url,
            "sha256": _digest_in_name(member.url),
            "size": round(meta["_file_size"] * 2**20),
            "license": meta.get("license", ""),
            "top1": round(meta["_metrics"]["ImageNet-1K"]["acc@1"] / 100, 5),
            "classes": len(meta["categories"]),
            "preprocessing": {
                "image_size": size,
                "crop_fraction": size / resize,
                "interpolation": transform.interpolation.value,
                "mean": list(transform.mean),
                "std": list(transform.std),
            },
        }


def timm(variant: str, model: str) -> Iterator[Row]:
    """Yield a row for each tag of the model that has weights of its own."""
    package = import_module("timm")
    for name in package.list_pretrained(f"{model}.*"):
        config = package.get_pretrained_cfg(name)
        if not config.hf_hub_id and not config.url:
            continue
        size = config.input_size[1]
        yield {
            "name": name,
            "variant": variant,
            "file": "model.safetensors" if config.hf_hub_id else Path(config.url).name,
            "hub": config.hf_hub_id or "",
            "url": "" if config.hf_hub_id else config.url,
            "sha256": "" if config.hf_hub_id else _digest_in_name(config.url),
            "license": config.license or "",
            "classes": config.num_classes,
            "preprocessing": {
                "image_size": size,
                "crop_fraction": size / math.floor(size / config.crop_pct),  # timm rounds the shorter side down
                "interpolation": config.interpolation,
                "mean": list(config.mean),
                "std": list(config.std),
            },
        }


class Captured(Exception):
    """Raised in place of a download, with the arguments that the download was called with."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.arguments = arguments


# PaddleClas evaluates all its networks here alike: ppcls/configs/ImageNet/DenseNet/DenseNet121.yaml
PADDLECLAS = {
    "image_size": 224, "crop_fraction": 224 / 256, "interpolation": "bilinear",
    "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
}  # fmt: skip


def paddle_vision(variant: str, model: str) -> Iterator[Row]:
    """Yield the address that paddle.vision would download from. Its package does not give the preprocessing.

    The preprocessing of PaddleClas's files is known. Files of Paddle's hapi get none: its evaluation reads BGR images
    (image_classification/imagenet_dataset.py), and it is not published whether all networks were trained on them.
    """
    import_module("paddle.vision.models")

    def capture(url: str, md5: str | None = None) -> str:
        raise Captured(url, md5)

    for module in [module for name, module in sys.modules.items() if name.startswith("paddle.vision.models.")]:
        if hasattr(module, "get_weights_path_from_url"):
            module.get_weights_path_from_url = capture  # type: ignore[attr-defined]
    function, options = _call(model)
    try:
        getattr(import_module("paddle.vision.models"), function)(pretrained=True, **options)
    except Captured as captured:
        url, md5 = captured.arguments
        row = {"name": model, "variant": variant, "file": Path(url).name, "url": url, "md5": md5 or ""}
        yield row | ({"preprocessing": PADDLECLAS} if "paddle-imagenet-models" in url else {})
    except AssertionError:  # "... model do not have a pretrained model now"
        return


def mindcv(variant: str, model: str) -> Iterator[Row]:
    """Yield the configuration that MindCV has for the model, if it has weights.

    The preprocessing is the package's default for evaluation, which no configuration of a model here changes.
    """
    import_module("mindcv.models")
    evaluate = import_module("mindcv.data.transforms_factory").transforms_imagenet_eval
    default = {name: parameter.default for name, parameter in signature(evaluate).parameters.items()}
    for name, module in list(sys.modules.items()):
        config = getattr(module, "default_cfgs", {}).get(model) if name.startswith("mindcv.models.") else None
        if config and config.get("url"):
            url = config["url"]
            size, crop_pct = default["image_resize"], config.get("crop_pct", default["crop_pct"])
            yield {
                "name": model,
                "variant": variant,
                "file": Path(url).name,
                "url": url,
                "sha256": _digest_in_name(url),
                "classes": config.get("num_classes", 1000),
                "preprocessing": {
                    "image_size": size,
                    "crop_fraction": size / math.floor(size / crop_pct),
                    "interpolation": config.get("interpolation", default["interpolation"]),
                    "mean": [round(mean / 255, 6) for mean in config.get("mean", default["mean"])],
                    "std": [round(std / 255, 6) for std in config.get("std", default["std"])],
                },
            }
            return


def keras(variant: str, model: str) -> Iterator[Row]:
    """Yield the address that keras.applications would download from, and the preparation of images.

    Keras squashes images to the size of the network in its examples.
    """
    os.environ.setdefault("KERAS_BACKEND", "torch")
    package = import_module("keras")
    files = import_module("keras.src.utils.file_utils")
    downloads: list[tuple[str, str, str]] = []

    def capture(fname: str, origin: str, file_hash: str | None = None, **_: object) -> str:
        downloads.append((fname, origin, file_hash or ""))
        return fname

    files.get_file = capture  # type: ignore[attr-defined]
    package.Model.load_weights = lambda *_, **__: None
    function, options = _call(model)
    build = getattr(package.applications, function)
    options = {name: value for name, value in options.items() if name == "alpha"}
    network = build(**options, weights="imagenet")
    ((file, url, digest),) = downloads
    row: Row = {
        "name": function + "".join(f"({name}={value})" for name, value in options.items()),
        "variant": variant,
        "file": file,
        "url": url,
        "sha256" if len(digest) == 64 else "md5": digest,
    }
    size = network.input_shape[1] or find_spec(variant).input_size
    if normalisation := _normalisation(network, sys.modules[build.__module__].preprocess_input):
        row["preprocessing"] = {"image_size": size, "resize": "squash", "interpolation": "bilinear", **normalisation}
    yield row


def _normalisation(network: Any, preprocess: Callable[[Any], Any]) -> dict[str, list[float]] | None:
    """Return the mean and the standard deviation that the package subtracts from and divides pixels in [0, 1] by.

    They are measured on a black and a white pixel and on a red one, so that functions and layers of a network count.
    Returns None where the package exchanges the channels.
    """
    numpy = import_module("numpy")
    pixels = numpy.array([[0, 0, 0], [255, 255, 255], [255, 0, 0]], "float32").reshape(3, 1, 1, 3)
    values = preprocess(pixels)
    for layer in network.layers:
        if type(layer).__name__ in ("Rescaling", "Normalization"):
            values = layer(values)
    black, white, red = numpy.asarray(values, "float64").reshape(3, 3)
    if not numpy.allclose(red, [white[0], black[1], black[2]]):
        return None
    std = 1 / (white - black)
    return {"mean": [round(value, 6) for value in -black * std], "std": [round(value, 6) for value in std]}


PUBLISHERS: dict[str, Callable[[str, str], Iterator[Row]]] = {
    "torchvision": torchvision,
    "timm": timm,
    "paddle.vision": paddle_vision,
    "mindcv": mindcv,
    "keras": keras,
}


def _digest_in_name(url: str) -> str:
    """The first digits of the SHA-256 that many publishers write at the end of a file's name."""
    match = re.search(r"-([0-9a-f]{8,64})\.\w+$", url)
    return match[1] if match else ""


def _call(expression: str) -> tuple[str, dict[str, Any]]:
    """The function and the keyword arguments of "mobilenet_v2(scale=1.4)" or "mobilenet_v2"."""
    node = ast.parse(expression, mode="eval").body
    if isinstance(node, ast.Call):
        assert isinstance(node.func, ast.Name)
        return node.func.id, {str(word.arg): ast.literal_eval(word.value) for word in node.keywords}
    return expression, {}


def main(argv: list[str]) -> None:
    """Write the rows of the publisher and of the pairs named in `argv` to the answer file."""
    publisher, answer, *pairs = argv
    rows = []
    for pair in pairs:
        variant, _, model = pair.partition("=")
        rows += [row | {"publisher": publisher} for row in PUBLISHERS[publisher](variant, model)]
    Path(answer).write_text(json.dumps(rows))


if __name__ == "__main__":
    main(sys.argv[1:])
