"""Programs of parity_tests/architectures/test_resnet_cifar.py and test_resnet_cifar_units.py."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from parity_tests.programs.common import call, fill_parameter, random_images
from repro.specs import find_spec
from repro.specs.resnet_cifar import resnet_cifar
from repro.weights import safetensors_file
from repro.weights.init import random_weights


def addition(
    name: str, shortcut: str, x: list[Any], branch: list[Any], weights: dict[str, Any], training: bool = False
) -> list[Any]:
    """The sum of a shortcut and a branch (N, 2, H, W). `weights` fills parameters by their attribute paths."""
    module = importlib.import_module(f"backends.{name}.models.resnet_cifar")
    layer = module.Addition(find_spec("resnet110_cifar_dropout"), shortcut, 2)
    for path, values in weights.items():
        parameter = layer
        for attribute in path.split("."):
            parameter = getattr(parameter, attribute)
        fill_parameter(name, parameter, values)
    inputs = np.array(x, np.float32), np.array(branch, np.float32)
    return call(name, layer, *inputs, training=training).tolist()


def dropped_additions(name: str) -> list[float]:
    """All values of a sum in training mode whose shortcut of ones has dropout, and whose branch is 10."""
    ones = np.ones((4, 2, 32, 32))
    return np.ravel(addition(name, "dropout", ones.tolist(), (10 * ones).tolist(), {}, training=True)).tolist()


def padded_channels(name: str, x: list[Any]) -> list[Any]:
    """The output of the shortcut that halves a map (N, 2, H, W) and adds two channels of zeros."""
    layer = importlib.import_module(f"backends.{name}.models.resnet_cifar").PadChannels(2, 2)
    return call(name, layer, np.array(x, np.float32)).tolist()


def stages_in_float64(activation: str, path: str) -> None:
    """Write the weights of a torch model with 14 layers and, as "stage/NAME", its stages for two images."""
    from backends.torch import create_model, forward, load_weights, to_float64

    spec = resnet_cifar(depth=14, block="basic", activation=activation)
    weights = random_weights(spec, 1)
    model = to_float64(lambda: create_model(spec))
    load_weights(model, weights)
    stages = forward(model, random_images((2, 3, 7, 9), 0))
    safetensors_file.save(path, weights | {f"stage/{name}": array for name, array in stages.items()})
