"""Programs of the tests of backends.mindspore.inference in parity_tests/backends/test_fused_convolutions.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from parity_tests.programs.common import random_images
from repro.interface import TrainSettings
from repro.specs import Spec, find_spec
from repro.weights.init import random_weights

EAGER = TrainSettings(compiled=False)


def _images(spec: Spec, size: int) -> np.ndarray:
    return random_images((4, spec.in_channels, size, size + 1), 0).astype(np.float32)


def differences(name: str, size: int, channels: int) -> dict[str, Any]:
    """Return the differences of plain and fused results, relative to the largest, and numbers of cells."""
    from mindspore import nn

    from backends.mindspore import create_model, create_trainer, forward

    depth = {"depth": 8} if "cifar" in name else {}
    spec = find_spec(name, num_classes=5, in_channels=channels, **depth)
    model, images = create_model(spec), _images(spec, size)
    plain, fused = (create_trainer(model, replace(EAGER, fused_evaluation=value)) for value in (False, True))
    plain.load_weights(random_weights(spec, 0))
    expected = forward(model, images, every_module=True)
    results = fused.predict_modules(images) | {"logits": fused.predict(images)}
    cells = [cell for _, cell in fused.evaluation.network().cells_and_names()]
    errors = [np.abs(array - expected[key]).max() / np.abs(expected[key]).max() for key, array in results.items()]
    return {
        "plain": np.array_equal(plain.predict(images), expected["logits"]),
        "fused": float(max(errors)),
        "hidden": len(expected) - len(results),
        "pairs": len(fused.evaluation.fused.pairs),
        "normalisations": sum(isinstance(cell, nn.BatchNorm2d) for cell in cells),
    }


def changes_of_weights(name: str, compiled: bool) -> dict[str, bool]:
    """Return the cases in which predictions must follow the weights and other properties hold, with whether they do.

    Predictions are compared to the bit with those of a new trainer in eager mode that has the same weights.
    """
    from backends.mindspore import create_model, create_trainer

    spec = find_spec(name, num_classes=5)
    images, labels = _images(spec, 32), np.arange(4)
    trainer = create_trainer(create_model(spec), replace(EAGER, compiled=compiled))
    silent = create_trainer(create_model(spec), EAGER)  # never predicts
    results = {}

    def check(case: str, change: Callable[[Any], object]) -> None:
        before = trainer.predict(images)
        for changed in (trainer, silent):
            change(changed)
        other = create_trainer(create_model(spec), replace(EAGER, fused_evaluation=True))
        other.load_weights(trainer.weights())
        after = trainer.predict(images)
        results[case] = np.array_equal(after, other.predict(images)) and not np.array_equal(before, after)

    check("load_weights", lambda trainer: trainer.load_weights(random_weights(spec, 0)))
    check("step", lambda trainer: trainer.step(images, labels, 0.01))
    check("statistics", lambda trainer: trainer.step(images, labels, 0.0))
    gradients = {weight: np.ones(spec.weights[weight].shape, np.float32) for weight in trainer.names}
    check("update", lambda trainer: trainer.update(gradients, 0.1))
    weights = silent.weights()
    results["the weights of a trainer that never predicted"] = weights.keys() == trainer.weights().keys() and all(
        np.array_equal(array, weights[key]) for key, array in trainer.weights().items()
    )
    graphs = trainer.evaluation.network().compile_cache
    results["one graph"] = len(graphs) == int(compiled)
    trainer.predict(images[:, :, 1:])
    results["one graph for each size"] = len(graphs) == 2 * int(compiled)
    mixed = create_trainer(create_model(spec), replace(EAGER, precision="float16", fused_evaluation=True))
    results["not in float16"] = mixed.evaluation.network() is mixed.network
    return results
