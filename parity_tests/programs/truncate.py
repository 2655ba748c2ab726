"""Program of parity_tests/backends/test_truncate.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from repro.arrays import Arrays
from repro.interface import TrainSettings
from repro.interface.discovery import load_backend
from repro.specs import find_spec
from repro.weights import safetensors_file
from repro.weights.init import random_weights
from repro.weights.truncate import corner, truncated_spec

OPTIONS: tuple[dict[str, Any], ...] = (
    {"optimizer": "adamw", "spare_bias_and_norm": True},
    {"nesterov": True, "ema_decay": 0.9},
)


def updates(name: str, path: str) -> None:
    """Write what a model and its truncated copy are after two updates: "full/..." and "truncated/..."."""
    backend = load_backend(name)
    spec = find_spec("asymmnet_small", num_classes=7, width=0.35)
    models = {"full": backend.create_model(spec), "truncated": backend.create_model(spec)}
    short_spec = truncated_spec(spec, 500)
    backend.truncate(models["truncated"], short_spec)
    assert models["truncated"].spec is short_spec
    weights = random_weights(spec, 0)
    arrays: Arrays = {}
    for number, options in enumerate(OPTIONS):
        for kind, model in models.items():
            shapes = {key: weight.shape for key, weight in model.spec.weights.items()}
            backend.load_weights(model, {key: corner(weights[key], shape) for key, shape in shapes.items()})
            settings = TrainSettings(weight_decay=0.1, compiled=False, **options)
            trainer = backend.create_trainer(model, settings)
            rng = np.random.default_rng(1)
            for _ in range(2):
                full_shapes = settings.trained_shapes(spec)
                gradients = {key: rng.standard_normal(shape, np.float32) for key, shape in full_shapes.items()}
                trainer.update({key: corner(gradient, shapes[key]) for key, gradient in gradients.items()}, 0.1)
            records = {"weights": trainer.weights(), "ema": trainer.ema_weights(), "state": trainer.state()}
            for record, values in records.items():
                arrays |= {f"{kind}/{number}/{record}/{key}": array for key, array in values.items()}
    safetensors_file.save(path, arrays)
