"""Program that the tests of several architectures share: losses of a few training steps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from parity_tests.programs.common import random_images
from repro.interface import TrainSettings
from repro.interface.discovery import load_backend
from repro.specs import find_spec
from repro.weights.init import initialise


def losses(
    name: str, model: str, options: dict[str, Any], settings: dict[str, Any], shape: list[int], lr: float, steps: int,
    stages: int | None = None,
) -> list[float]:  # fmt: skip
    """The loss before each of some steps on one random batch (N, C, H, W), from initial weights.

    Labels count up and start again at the number of classes. `stages` keeps only the first stages of the network.
    """
    backend = load_backend(name)
    spec: Any = find_spec(model, **options)
    if stages is not None:
        spec = replace(spec, stages=spec.stages[:stages])
    trainer = backend.create_trainer(backend.create_model(spec), TrainSettings(**settings))
    trainer.load_weights(initialise(spec, 0))
    images = random_images(tuple(shape), 0).astype(np.float32)
    labels = np.arange(len(images)) % spec.num_classes
    return [float(trainer.step(images, labels, lr)[0]) for _ in range(steps)]
