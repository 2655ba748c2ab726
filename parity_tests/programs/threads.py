"""Print what depends on the number of threads of a framework: `python -m parity_tests.programs.threads BACKEND`."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import replace

import numpy as np

from parity_tests.programs.common import random_images
from repro.interface import TrainSettings
from repro.interface.discovery import load_backend
from repro.interface.dropout_source import SeededDropout
from repro.specs.asymmnet import asymmnet
from repro.weights.init import initialise


def digest_of_step(backend: str, *, evaluates: bool) -> str:
    """Return a digest of the optimizer state after a step with dropout, after or without an evaluation."""
    module = load_backend(backend)
    spec = asymmnet("small", num_classes=4, dropout=0.5, width=0.35)
    spec = replace(spec, stages=spec.stages[:1])
    model = module.create_model(spec)
    module.set_dropout_source(model, SeededDropout(0))
    trainer = module.create_trainer(model, TrainSettings())
    trainer.load_weights(initialise(spec, 0))
    images = random_images((6, 3, 16, 16), 0).astype(np.float32)
    if evaluates:
        trainer.predict(images)
    trainer.step(images, np.arange(6) % 4, 0.1)
    return hashlib.sha256(b"".join(array.tobytes() for _, array in sorted(trainer.state().items()))).hexdigest()


if __name__ == "__main__":
    if sys.argv[1] == "torch":
        load_backend("torch")
        import torch

        print(torch.get_num_threads())
    else:
        print(digest_of_step(sys.argv[1], evaluates=sys.argv[2:] == ["evaluate"]))
