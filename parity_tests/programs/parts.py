"""Programs of parity_tests/backends/test_parts.py."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from parity_tests.programs.common import random_images
from repro.arrays import Arrays
from repro.data import Batch, Loader, Mixing, Transform
from repro.interface import TrainSettings
from repro.interface.discovery import load_backend
from repro.interface.dropout_source import SeededDropout
from repro.interface.processes import is_restarted
from repro.run import main
from repro.specs import Spec
from repro.specs.asymmnet import asymmnet
from repro.specs.rdnet import rdnet
from repro.weights import safetensors_file
from repro.weights.init import initialise


def train_in_parts(name: str, folder: str) -> None:
    """Write what two networks end with, trained in parts and in one piece, to safetensors files.

    "layers" normalises each image separately, and "batches" has batch normalisation.
    """
    backend = load_backend(name)
    images = random_images((3, 8, 3, 32, 32), 0).astype(np.float32)
    labels = np.random.default_rng(1).integers(0, 5, (3, 8))

    def train(part: str, spec: Spec, settings: TrainSettings, steps: int, rows: slice = slice(None)) -> None:
        model = backend.create_model(spec)
        backend.set_dropout_source(model, SeededDropout(0, parts=settings.parts))
        trainer = backend.create_trainer(model, settings)
        trainer.load_weights(initialise(spec, 0))
        results: Arrays = {}
        for step, (batch, batch_labels) in enumerate(zip(images[:steps, rows], labels[:steps, rows], strict=True)):
            loss, logits = trainer.step(batch, batch_labels, 0.1)
            results |= {f"loss {step}": np.array([loss], np.float32), f"logits {step}": logits}
        results |= trainer.weights() | trainer.state()
        safetensors_file.save(f"{folder}/{part}.safetensors", results)

    layers = rdnet("tiny", num_classes=5, dropout=0.2, drop_path=0.3)
    layers = replace(layers, stages=layers.stages[:2])
    # MindSpore compiles them for half a minute; compiled steps in parts are tested with whole runs
    settings = TrainSettings(clip_norm=3.5, ema_decay=0.5, label_smoothing=0.1, compiled=False)
    batches = asymmnet("small", num_classes=5, dropout=0.0, width=0.35)
    batches = replace(batches, stages=batches.stages[:2])
    decay = TrainSettings(weight_decay=0.1, compiled=False)
    train("layers", layers, settings, 3)
    train("layers in 4", layers, replace(settings, accumulate=4), 3)
    train("batches, first half", batches, decay, 1, slice(4))
    train("batches, second half", batches, decay, 1, slice(4, 8))
    train("batches in 2", batches, replace(decay, accumulate=2), 1)


def run_until_killed(rank: str | None = None) -> None:
    """Run the command repro.run, and kill this process before the tenth step of epoch 2, unless it was restarted.

    rank: that of torchrun's process to kill; None for every process.
    """
    train = Loader.train

    def train_until(
        self: Loader, epoch: int, transform: Transform, mixing: Mixing | None = None, *, start: int = 0
    ) -> Iterator[Batch]:
        for step, batch in enumerate(train(self, epoch, transform, mixing, start=start), start):
            if (epoch, step) == (1, 9) and rank in (None, os.environ.get("RANK")) and not is_restarted():
                os.kill(os.getpid(), signal.SIGKILL)
            yield batch

    Loader.train = train_until  # type: ignore[method-assign]
    sys.exit(main(sys.argv[1:]))
