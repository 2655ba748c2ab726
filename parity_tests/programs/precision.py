"""Programs of parity_tests/backends/test_precision.py."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from parity_tests.programs.common import random_images
from repro.arrays import Arrays
from repro.errors import ReproError
from repro.interface import TrainSettings
from repro.interface.discovery import load_backend
from repro.specs.asymmnet import asymmnet
from repro.weights import safetensors_file
from repro.weights.init import initialise


def first_steps(name: str, cases: list[tuple[str, bool]], logit_biases: list[float], path: str) -> None:
    """Write "CASE/BIAS/..." for each (precision, compiled), and each bias of the logit of the right class.

    The arrays are the loss, predictions before the step, its logits, and the change of all trained weights in one
    vector.
    """
    backend = load_backend(name)
    spec = asymmnet("small", num_classes=4, dropout=0.0)
    spec = replace(spec, stages=spec.stages[:3])
    weights = initialise(spec, 0)
    images = random_images((8, 3, 64, 64), 0).astype(np.float32)
    arrays: Arrays = {}
    for case, (precision, compiled) in enumerate(cases):
        settings = TrainSettings(precision=precision, compiled=compiled, momentum=0.0)
        trainer = backend.create_trainer(backend.create_model(spec), settings)
        for bias in logit_biases:
            weights["classifier.bias"][0] = bias
            trainer.load_weights(weights)
            predictions = trainer.predict(images)
            loss, logits = trainer.step(images, np.zeros(8, np.int64), 1.0)
            after = trainer.weights()
            assert all(array.dtype == np.float32 for array in (predictions, logits, *after.values()))
            change = np.concatenate([(after[key] - weights[key]).ravel() for key in settings.trained_shapes(spec)])
            values = {"loss": np.float64(loss).reshape(1), "predictions": predictions, "logits": logits}
            arrays |= {f"{case}/{bias}/{key}": array for key, array in (values | {"change": change}).items()}
    safetensors_file.save(path, arrays)


def refusal(name: str, precision: str) -> str:
    """The error for a precision in which a backend cannot train."""
    backend = load_backend(name)
    try:
        backend.create_trainer(
            backend.create_model("asymmnet_small", num_classes=4), TrainSettings(precision=precision)
        )
    except ReproError as error:
        return str(error)
    return ""
