"""Programs of parity_tests/backends/test_trainer.py."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from parity_tests.programs.common import random_images
from repro.arrays import Arrays
from repro.interface import TrainSettings
from repro.interface.discovery import load_backend
from repro.interface.dropout_source import SeededDropout
from repro.specs.asymmnet import asymmnet
from repro.specs.efficientnet_v2 import efficientnet_v2
from repro.training.run_folder import TrainingProgress
from repro.training.run_writer import Snapshot
from repro.weights import safetensors_file
from repro.weights.init import initialise


def two_steps(name: str, path: str) -> str:
    """Write the results of two training steps of a shortened AsymmNet to a safetensors file."""
    backend = load_backend(name)
    spec = asymmnet("small", num_classes=5, dropout=0.0, width=0.5)
    spec = replace(spec, stages=(*spec.stages[:2], spec.stages[2][:2]))
    images = random_images((2, 16, 3, 64, 64), 0).astype(np.float32)
    labels = np.random.default_rng(1).integers(0, 5, (2, 16))
    trainer = backend.create_trainer(backend.create_model(spec), TrainSettings(momentum=0.9, weight_decay=0.1))
    trainer.load_weights(initialise(spec, 0))
    arrays: Arrays = {}
    for step in range(2):
        loss, logits = trainer.step(images[step], labels[step], 1e-3 * (step + 1))
        arrays |= {f"{step}/loss": np.float64(loss).reshape(1), f"{step}/logits": logits}
        arrays |= {f"{step}/{key}": array for key, array in (trainer.weights() | trainer.state()).items()}
    arrays["predict"] = trainer.predict(images[0])
    safetensors_file.save(path, arrays)
    repeatable = np.array_equal(arrays["predict"], trainer.predict(images[0]))
    return "repeatable predictions" if repeatable else "predictions that change"


def check_copies(name: str) -> None:
    """Check that the arrays of a trainer keep every bit while it goes on, and that the next ones differ."""
    backend = load_backend(name)
    spec = asymmnet("small", num_classes=5, dropout=0.0, width=0.35)
    spec = replace(spec, stages=spec.stages[:1])
    settings = TrainSettings(optimizer="adamw", ema_decay=0.5)
    trainer = backend.create_trainer(backend.create_model(spec), settings)
    trainer.load_weights(initialise(spec, 0))
    images, labels = random_images((8, 3, 32, 32), 0).astype(np.float32), np.arange(8) % 5
    trainer.step(images, labels, 0.1)
    taken = {"weights": trainer.weights(), "state": trainer.state(), "ema": trainer.ema_weights()}
    before = {kind: {key: array.tobytes() for key, array in arrays.items()} for kind, arrays in taken.items()}
    validated = Snapshot(TrainingProgress(""), taken["weights"], taken["state"]).validated_weights
    assert {key: array.tobytes() for key, array in validated.items()} == before["ema"]
    trainer.step(images, labels, 0.1)
    after = {"weights": trainer.weights(), "state": trainer.state(), "ema": trainer.ema_weights()}
    trainer.load_weights(initialise(spec, 1))
    trainer.load_state({})
    for kind, arrays in taken.items():
        for key, array in arrays.items():
            assert array.tobytes() == before[kind][key], (kind, key)
            assert not np.array_equal(after[kind][key], array), (kind, key)


def losses_with_dropout(name: str, start: int) -> list[float]:
    """The losses of steps from initial weights, from epoch `start` to 3; the last batch of epoch 3 is larger."""
    backend = load_backend(name)
    spec = efficientnet_v2("b0", num_classes=4, in_channels=1, dropout=0.5, drop_path=0.5)
    spec = replace(spec, stages=tuple(tuple(replace(block, depth=1) for block in stage) for stage in spec.stages[:3]))
    model, source = backend.create_model(spec), SeededDropout(3)
    backend.set_dropout_source(model, source)
    trainer = backend.create_trainer(model, TrainSettings(momentum=0.0))
    images = random_images((6, 1, 32, 32), 0).astype(np.float32)
    losses = []
    for epoch in range(start, 4):
        source.begin_epoch(epoch)
        for size in (4, 4, 6) if epoch == 3 else (4, 4):
            trainer.load_weights(initialise(spec, 0))  # so that losses differ by the dropout only
            losses.append(float(trainer.step(images[:size], np.arange(size) % 4, 0.01)[0]))
    assert backend.export_weights(model).keys() == spec.weights.keys()
    return losses


def step_of_rdnet() -> tuple[float, tuple[int, ...]]:
    """The loss and the shape of the logits of a compiled step of RDNet in MindSpore."""
    from backends.mindspore import create_model, create_trainer

    images = random_images((2, 3, 32, 32), 0).astype(np.float32)
    trainer = create_trainer(create_model("rdnet_tiny", num_classes=2), TrainSettings())
    loss, logits = trainer.step(images, np.arange(2), 0.1)
    return float(loss), logits.shape


def compiled_sums() -> dict[str, tuple[list[float], float]]:
    """The sums of a vector in 60 calls of a compiled MindSpore function, and its sum in float64, by its length."""
    import mindspore

    from backends.mindspore.optimizers import deterministic_sum

    compiled = mindspore.jit(deterministic_sum)
    results = {}
    for size in (7, 4096, 5000, 434_650):
        numbers = np.random.default_rng(0).random(size, np.float32)
        sums = [float(compiled(mindspore.Tensor(numbers)).asnumpy()) for _ in range(60)]
        results[str(size)] = sums, float(numbers.astype(np.float64).sum())
    return results


def _core_sets() -> list[list[int]]:
    """The different sets of cores that threads of this process may use."""
    threads = [int(path.name) for path in Path("/proc/self/task").iterdir()]
    return [list(cores) for cores in sorted({tuple(sorted(os.sched_getaffinity(thread))) for thread in threads})]


def cores_of_threads() -> dict[str, Any]:
    """The sets of cores of MindSpore's threads: around its eager calls, and inside each of the three."""
    from backends.mindspore import create_model, create_trainer, forward

    model = create_model("asymmnet_small", num_classes=3)
    before, inside = _core_sets(), []
    images, labels = np.zeros((2, 3, 32, 32), np.float32), np.zeros(2, np.int64)
    model.classifier.register_forward_hook(lambda *_: inside.append(_core_sets()))
    forward(model, images)
    after_forward = _core_sets()
    trainer = create_trainer(model, TrainSettings(compiled=False, fused_evaluation=False))  # predicts by this model
    trainer.step(images, labels, 0.1)
    trainer.predict(images)
    return {"before": before, "after forward": after_forward, "after training": _core_sets(), "inside": inside}
