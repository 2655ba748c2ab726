"""Program of parity_tests/backends/test_graph_cache.py."""

from __future__ import annotations

import hashlib
import os

import numpy as np

from parity_tests.programs.common import random_images
from repro.interface import TrainSettings
from repro.interface.discovery import load_backend
from repro.interface.dropout_source import SeededDropout
from repro.specs import find_spec
from repro.weights.init import initialise


def digest_of_steps(cache: str, keep_graph: bool, momentum: float, batch: int) -> str:
    """Return the SHA-256 of the logits and weights of two steps with dropout, and of a prediction."""
    os.environ["XDG_CACHE_HOME"] = cache
    backend = load_backend("mindspore")
    spec = find_spec("asymmnet_small_x0_35_r0", num_classes=5, dropout=0.2)
    model = backend.create_model(spec)
    backend.set_dropout_source(model, SeededDropout(0))
    trainer = backend.create_trainer(model, TrainSettings(momentum=momentum, keep_graph=keep_graph))
    trainer.load_weights(initialise(spec, 0))
    images = random_images((batch, 3, 32, 32), 0).astype(np.float32)
    digest = hashlib.sha256()
    for _ in range(2):
        digest.update(trainer.step(images, np.arange(batch) % 5, 0.1)[1].tobytes())
    for _, array in sorted(trainer.weights().items()):
        digest.update(array.tobytes())
    digest.update(trainer.predict(images).tobytes())
    return digest.hexdigest()
