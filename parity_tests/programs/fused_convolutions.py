"""Programs of parity_tests/backends/test_fused_convolutions.py."""

from __future__ import annotations

import numpy as np

from parity_tests.programs.common import random_images
from repro.interface import TrainSettings
from repro.specs import Spec, find_spec
from repro.weights.init import random_weights


def _images(spec: Spec, size: int) -> np.ndarray:
    return random_images((4, spec.in_channels, size, size + 1), 0).astype(np.float32)


def errors(name: str, size: int, channels: int) -> dict[str, float]:
    """Return the errors of plain and fused logits, relative to the largest one in float64, and numbers of operators."""
    from torch import nn

    from backends.torch import create_model, create_trainer, forward, load_weights
    from backends.torch.inference import FusedConv

    depth = {"depth": 8} if "cifar" in name else {}
    spec = find_spec(name, num_classes=5, in_channels=channels, **depth)
    weights, images = random_weights(spec, 0), _images(spec, size)
    exact = create_model(spec).double()
    load_weights(exact, weights)
    expected = forward(exact, images.astype(np.float64))["logits"]
    results: dict[str, float] = {}
    for case, fused in (("plain", False), ("fused", True)):
        trainer = create_trainer(create_model(spec), TrainSettings(momentum=0.0, fused_evaluation=fused))
        trainer.load_weights(weights)
        results[case] = float(np.abs(trainer.predict(images) - expected).max() / np.abs(expected).max())
    modules = list(trainer.evaluation.network().modules())
    results["fused convolutions"] = sum(isinstance(module, FusedConv) for module in modules)
    results["normalisations"] = sum(isinstance(module, nn.BatchNorm2d) for module in modules)
    return results


def changes_of_weights() -> dict[str, bool]:
    """Return the cases in which predictions must follow the weights and other properties hold, with whether they do."""
    from backends.torch import create_model, create_trainer, load_weights

    spec = find_spec("asymmnet_small_x0_35_r0", num_classes=5)
    images, labels = _images(spec, 32), np.arange(4)
    settings = TrainSettings(momentum=0.9, ema_decay=0.9)
    trainer = create_trainer(create_model(spec), settings)

    def follows() -> bool:
        other = create_trainer(create_model(spec), settings)
        other.load_weights(trainer.weights())
        same = np.array_equal(trainer.predict(images), other.predict(images))
        kept = trainer.evaluation.network() is trainer.evaluation.network()
        return same and kept and not np.array_equal(before, trainer.predict(images))

    before = trainer.predict(images)
    results = {}
    trainer.load_weights(random_weights(spec, 0))
    results["load_weights"] = follows()
    before = trainer.predict(images)
    trainer.step(images, labels, 0.01)
    results["step"] = follows()
    before = trainer.predict(images)
    trainer.step(images, labels, 0.0)  # running statistics only
    results["statistics"] = follows()
    before = trainer.predict(images)
    trainer.update({name: np.ones(spec.weights[name].shape, np.float32) for name in trainer.parameters}, 0.1)
    results["update"] = follows()
    before = trainer.predict(images)
    load_weights(trainer.model, random_weights(spec, 2))
    results["load_weights of the model"] = follows()
    results["by default"] = trainer.evaluation.is_fused
    results["trains after a prediction"] = trainer.step(images, labels, 0.1)[0] > 0 and trainer.model.training
    arrays = trainer.weights() | trainer.state()
    results["arrays in C order"] = all(array.flags.c_contiguous for array in arrays.values())
    double = create_trainer(create_model(spec).double(), TrainSettings())
    results["not in float64"] = not double.evaluation.is_fused
    mixed = create_trainer(create_model(spec), TrainSettings(precision="bfloat16", fused_evaluation=True))
    results["not in bfloat16"] = not mixed.evaluation.is_fused
    return results
