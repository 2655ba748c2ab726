"""Program of parity_tests/backends/test_loss.py."""

from __future__ import annotations

import numpy as np

from repro.interface import TrainSettings
from repro.interface.discovery import load_backend

Rows = list[list[float]]


def losses(name: str, logits: Rows, labels: list[int], soft_targets: Rows, smoothing: list[float]) -> list:
    """[loss, gradient of the logits] with labels and then with soft targets, for each label-smoothing factor."""
    backend = load_backend(name)
    results = []
    for factor in smoothing:
        model = backend.create_model("asymmnet_small_x0_35", num_classes=4)
        trainer = backend.create_trainer(model, TrainSettings(label_smoothing=factor))
        for targets in (np.array(labels), np.array(soft_targets, np.float32)):
            loss, gradient = trainer.loss(np.array(logits, np.float32), targets)
            results.append([float(loss), gradient.tolist()])
    return results
