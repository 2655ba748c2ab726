"""Programs of parity_tests/weights/test_keras_files.py: Keras, on PyTorch, saves and loads its own ResNet50V2."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np


def _model() -> Any:
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    return keras.applications.ResNet50V2(weights=None)


def _variables(model: Any) -> dict[str, np.ndarray]:
    return {f"{layer.name}.{weight.name}": np.asarray(weight) for layer in model.layers for weight in layer.weights}


def save(folder: str) -> None:
    """Write random weights to model.keras, model.h5, model.weights.h5 and, as NumPy arrays, variables.npz."""
    model = _model()
    rng = np.random.default_rng(0)
    model.set_weights([rng.standard_normal(weight.shape, np.float32) for weight in model.get_weights()])
    for name in ("model.keras", "model.h5"):
        model.save(Path(folder) / name)
    model.save_weights(Path(folder) / "model.weights.h5")
    np.savez(Path(folder) / "variables.npz", **_variables(model))


def load(folder: str, file: str) -> None:
    """Load a legacy file, by order and by name, and compare the variables with variables.npz."""
    model = _model()
    expected = np.load(Path(folder) / "variables.npz")
    for options in ({}, {"by_name": True}):
        model.set_weights([np.zeros(weight.shape) for weight in model.get_weights()])
        model.load_weights(Path(folder) / file, **options)
        variables = _variables(model)
        assert set(variables) == set(expected.files)
        assert all(np.array_equal(array, expected[name]) for name, array in variables.items())
