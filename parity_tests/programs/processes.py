"""Programs of parity_tests/backends/test_processes.py, started by the frameworks' launchers: `main BACKEND FOLDER`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

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
from repro.specs.efficientnet_v2 import efficientnet_v2
from repro.specs.rdnet import rdnet
from repro.specs.resnet_cifar import resnet_cifar
from repro.weights import safetensors_file
from repro.weights.init import initialise

ALL = tuple(range(8))  # the images of a batch
REDUCED_PRECISIONS = {"torch": ("float16", "bfloat16"), "paddle": (), "mindspore": ("float16",)}  # on a CPU


class Runs:
    """Training runs of this rank, which end up in one file each, FOLDER/NAME-RANK-of-WORLD_SIZE.safetensors."""

    def __init__(self) -> None:
        self.name, self.folder = sys.argv[1:]
        self.backend = load_backend(self.name)
        self.processes = process_group(self.name).initialised(self.backend)
        self.images = random_images((3, 8, 3, 32, 32), 0).astype(np.float32)
        self.labels = np.random.default_rng(1).integers(0, 5, (3, 8))

    def train(
        self, name: str, spec: Spec, settings: TrainSettings, steps: int, rows: Sequence[int] = ALL, lr: float = 0.1
    ) -> Any:
        """Train on this rank's slices of the given rows of the batches, write the results and return the trainer."""
        model = self.backend.create_model(spec)
        self.backend.set_dropout_source(model, SeededDropout(0, self.processes))
        trainer = self.backend.create_trainer(model, replace(settings, world_size=self.processes.world_size))
        trainer.load_weights(initialise(spec, 0))
        local = self.processes.local_slice(len(rows))
        losses = []
        for step in range(steps):
            batch, labels = (arrays[step % len(arrays), rows][local] for arrays in (self.images, self.labels))
            losses.append(trainer.step(batch, labels, lr)[0])
        arrays: Arrays = {"losses": np.array(losses, np.float32)} | trainer.weights() | trainer.state()
        arrays |= {f"ema/{key}": array for key, array in trainer.ema_weights().items()}
        path = f"{self.folder}/{name}-{self.processes.rank}-of-{self.processes.world_size}.safetensors"
        safetensors_file.save(path, arrays)
        return trainer


def main() -> None:
    """Train two networks on this rank's slice of each batch.

    "layers" normalises each image separately, so that several processes must end where one does. "batches" has batch
    normalisation: a step of two processes is the mean of the steps that one process makes on either half of the batch.
    """
    runs = Runs()
    layers = rdnet("tiny", num_classes=5, dropout=0.2, drop_path=0.3)
    layers = replace(layers, stages=layers.stages[:2])
    batches = asymmnet("small", num_classes=5, dropout=0.0, width=0.35)
    batches = replace(batches, stages=batches.stages[:2])
    # the gradients of all batches and of their halves exceed this norm, so that clipping changes every step. MindSpore
    # compiles this network for half a minute; compiled steps of several processes are tested with the other one
    settings = TrainSettings(clip_norm=3.5, ema_decay=0.5, label_smoothing=0.1, compiled=False)
    runs.train("layers", layers, settings, 20, lr=0.02)
    halves = {"first-half": ALL[:4], "second-half": ALL[4:]}
    for name, rows in ({"batches": ALL} if runs.processes.world_size > 1 else halves).items():
        runs.train(name, batches, TrainSettings(weight_decay=0.1), 1, rows)
    rank, world_size = runs.processes.rank, runs.processes.world_size
    sums = runs.processes.all_reduce_sum(np.array([2.0**40 + rank, (rank + 1) / 3]))
    safetensors_file.save(f"{runs.folder}/sums-{rank}-of-{world_size}.safetensors", {"sums": sums})
    if runs.name != "paddle":  # which has no float16
        skip_an_overflow(runs.name, runs.processes)


def synchronised() -> None:
    """Train with synchronised normalisation, except in the case "separate".

    The network is smooth: in others, rounding decides which values ReLU passes, and would grow in 20 steps.
    """
    runs = Runs()
    smooth = efficientnet_v2("s", num_classes=5, dropout=0.0, drop_path=0.0)
    smooth = replace(smooth, stages=tuple(stage[:1] for stage in smooth.stages[:2]), head=128)
    settings = TrainSettings(sync_norm=True, ema_decay=0.5, clip_norm=1.0, fused_evaluation=True)
    trainer = runs.train("synchronised", smooth, settings, 20, lr=0.02)
    plain = runs.backend.create_trainer(runs.backend.create_model(smooth), TrainSettings(fused_evaluation=True))
    plain.load_weights(trainer.weights())
    if runs.processes.is_main:  # which would wait for the other ranks if evaluation communicated
        assert np.array_equal(trainer.predict(runs.images[0]), plain.predict(runs.images[0]))
    # branches that a compiled step may compute in any order, while all ranks must communicate in the same
    shortcuts = resnet_cifar(depth=110, num_classes=5, block="basic", shortcut="conv1x1")
    shortcuts = replace(shortcuts, stages=(shortcuts.stages[0][:2],))
    runs.train("shortcuts", shortcuts, TrainSettings(sync_norm=True), 3, lr=0.01)
    eager = replace(settings, compiled=False)
    # the first parts of two ranks hold the images 0, 1, 4 and 5
    in_parts = ALL if runs.processes.world_size > 1 else (0, 1, 4, 5, 2, 3, 6, 7)
    runs.train("parts", smooth, replace(eager, accumulate=2), 20, in_parts, lr=0.02)
    runs.train("frozen", smooth, replace(eager, train_only="stages.1"), 3, lr=0.02)
    runs.train("separate", smooth, replace(eager, sync_norm=False), 20, lr=0.02)
    for precision in REDUCED_PRECISIONS[runs.name]:
        runs.train(precision, smooth, replace(eager, precision=precision), 3, lr=0.02)
