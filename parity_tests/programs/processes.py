"""Program of parity_tests/backends/test_processes.py, started by the frameworks' launchers: `main BACKEND FOLDER`."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np

from parity_tests.programs.common import random_images
from parity_tests.programs.loss_scale import skip_an_overflow
from repro.arrays import Arrays
from repro.interface import TrainSettings
from repro.interface.discovery import load_backend
from repro.interface.dropout_source import SeededDropout
from repro.interface.processes import process_group
from repro.specs import Spec
from repro.specs.asymmnet import asymmnet
from repro.specs.rdnet import rdnet
from repro.weights import safetensors_file
from repro.weights.init import initialise


def main() -> None:
    """Train two networks on this rank's slice of each batch, and write what each ends with to a file.

    "layers" normalises each image separately, so that several processes must end where one does. "batches" has batch
    normalisation: a step of two processes is the mean of the steps that one process makes on either half of the batch.
    """
    name, folder = sys.argv[1:]
    backend = load_backend(name)
    processes = process_group(name).initialised(backend)
    images = random_images((3, 8, 3, 32, 32), 0).astype(np.float32)
    labels = np.random.default_rng(1).integers(0, 5, (3, 8))

    def train(spec: Spec, settings: TrainSettings, steps: int, rows: slice = slice(None), lr: float = 0.1) -> Arrays:
        model = backend.create_model(spec)
        backend.set_dropout_source(model, SeededDropout(0, processes))
        trainer = backend.create_trainer(model, replace(settings, world_size=processes.world_size))
        trainer.load_weights(initialise(spec, 0))
        losses = []
        for step in range(steps):
            batch, batch_labels = images[step % len(images), rows], labels[step % len(images), rows]
            local = processes.local_slice(len(batch))
            losses.append(trainer.step(batch[local], batch_labels[local], lr)[0])
        ema = {f"ema/{key}": array for key, array in trainer.ema_weights().items()}
        return {"losses": np.array(losses, np.float32)} | trainer.weights() | trainer.state() | ema

    layers = rdnet("tiny", num_classes=5, dropout=0.2, drop_path=0.3)
    layers = replace(layers, stages=layers.stages[:2])
    batches = asymmnet("small", num_classes=5, dropout=0.0, width=0.35)
    batches = replace(batches, stages=batches.stages[:2])
    # the gradients of all batches and of their halves exceed this norm, so that clipping changes every step. MindSpore
    # compiles this network for half a minute; compiled steps of several processes are tested with the other one
    settings = TrainSettings(clip_norm=3.5, ema_decay=0.5, label_smoothing=0.1, compiled=False)
    results = {"layers": train(layers, settings, 20, lr=0.02)}
    whole = {"batches": slice(None)}
    halves = {"first-half": slice(4), "second-half": slice(4, 8)}
    for part, rows in (whole if processes.world_size > 1 else halves).items():
        results[part] = train(batches, TrainSettings(weight_decay=0.1), 1, rows)
    if name != "paddle":  # which has no float16
        skip_an_overflow(name, processes)
    for part, arrays in results.items():
        safetensors_file.save(f"{folder}/{part}-{processes.rank}-of-{processes.world_size}.safetensors", arrays)
