"""Programs of parity_tests/weights/test_keras_networks.py: networks of keras.applications, on PyTorch, and files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

os.environ["KERAS_BACKEND"] = "torch"
SIDE = 32
FILES = (".keras", ".h5", ".weights.h5")


def _trunk() -> Any:
    import keras

    return keras.applications.MobileNetV2(alpha=0.35, weights=None, include_top=False, input_shape=(SIDE, SIDE, 3))


def networks() -> dict[str, Any]:
    """Return the networks, with logits of five classes, or with features where they have no head."""
    import keras
    from keras import layers

    settings = {"weights": None, "classes": 5, "classifier_activation": None, "input_shape": (SIDE, SIDE, 3)}
    inside, outside, deep = _trunk(), _trunk(), _trunk()
    augmented = keras.Sequential([
        layers.Input((SIDE, SIDE, 3)), layers.RandomFlip(), outside, layers.GlobalAveragePooling2D(),
        layers.Dropout(0.2), layers.Dense(5),
    ])  # fmt: skip
    augmented.compile("adam")
    augmented.optimizer.build(augmented.trainable_variables)
    pooled, deep_pooled = (layers.GlobalAveragePooling2D()(trunk.output) for trunk in (inside, deep))
    return {
        "whole": keras.applications.MobileNetV2(alpha=0.35, **settings),
        "v3": keras.applications.MobileNetV3Small(alpha=0.75, include_preprocessing=False, **settings),
        "headless": _trunk(),
        "head": keras.Model(inside.input, layers.Dense(5, name="flowers")(layers.Dropout(0.2)(pooled))),
        "augmented": augmented,
        "deep_head": keras.Model(deep.input, layers.Dense(5)(layers.Dense(8, activation="relu")(deep_pooled))),
    }


def save(folder: str) -> None:
    """Write each network with random weights in every kind of file, and images.npy and the outputs NAME.npy."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((2, SIDE, SIDE, 3), np.float32)
    np.save(Path(folder) / "images.npy", images.transpose(0, 3, 1, 2))
    for name, model in networks().items():
        for variable in model.variables:
            if np.issubdtype(variable.dtype, np.floating) and "optimizer" not in variable.path:
                variable.assign(_draw(variable.path, tuple(variable.shape), rng))
        for ending in FILES:
            save_file = model.save_weights if ending == ".weights.h5" else model.save
            save_file(Path(folder) / f"{name}{ending}")
        outputs = model(images, training=False)
        np.save(Path(folder) / f"{name}.npy", outputs.detach().cpu().numpy())


def _draw(path: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    if len(shape) > 1:
        return rng.normal(0, np.sqrt(2 * shape[-1] / np.prod(shape)), shape)
    scale = path.endswith(("gamma", "moving_variance"))
    return rng.uniform(0.5, 1.5, shape) if scale else rng.normal(0, 0.1, shape)


def load(folder: str, expression: str, file: str) -> list[str]:
    """Load a file by order and by names, and return the variables that differ from expected.npz."""
    import keras

    from parity_tests.programs.packages import call

    expected = np.load(Path(folder) / "expected.npz")
    differing = []
    for options in ({}, {"by_name": True}):
        model = call(keras.applications, expression, input_shape=(SIDE, SIDE, 3), classes=5)
        model.load_weights(Path(folder) / file, **options)
        variables = {f"{layer.name}.{weight.name}": weight for layer in model.layers for weight in layer.weights}
        assert set(variables) == set(expected.files)
        differing += [name for name, weight in variables.items() if not np.array_equal(weight, expected[name])]
    return differing
