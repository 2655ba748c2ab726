"""The loss of each backend where probabilities underflow."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest

LOGITS = [[0.0, 30.0, 100.0, -50.0], [0.0, -70.0, -63.0, 1.0], [300.0, -300.0, 0.0, 2.0], [1.0, 2.0, 3.0, 4.0]]
LABELS = [0, 1, 1, 3]


SOFT = np.eye(4)[LABELS] * 0.5  # whose rows do not sum up to 1


def test_distant_logits(backend: str, run_in: Callable[[str, str], str]) -> None:
    """In Paddle no loss exceeds 64 on the CPU, unless it is written out."""
    printed = run_in(backend, f"""
import json
import numpy as np
from backends.{backend} import create_model, create_trainer
from repro.interface import TrainSettings
found = []
for smoothing in (0.0, 0.1):
    model = create_model("asymmnet_small_x0_35", num_classes=4)
    trainer = create_trainer(model, TrainSettings(label_smoothing=smoothing))
    for targets in (np.array({LABELS}), np.array({SOFT.tolist()}, np.float32)):
        loss, gradient = trainer.loss(np.array({LOGITS}, np.float32), targets)
        found.append([loss, gradient.tolist()])
print("found", json.dumps(found))
""")  # fmt: skip
    cases = [(smoothing, targets) for smoothing in (0.0, 0.1) for targets in (np.eye(4)[LABELS], SOFT)]
    for (smoothing, targets), (loss, gradient) in zip(cases, json.loads(printed.split("found", 1)[1]), strict=True):
        wanted = (1 - smoothing) * targets + smoothing / 4
        logits = np.array(LOGITS)
        logs = logits - logits.max(1, keepdims=True)
        logs -= np.log(np.exp(logs).sum(1, keepdims=True))
        assert loss == pytest.approx(-(wanted * logs).sum(1).mean(), rel=1e-6)
        slope = (np.exp(logs) * wanted.sum(1, keepdims=True) - wanted) / 4
        assert np.abs(np.array(gradient) - slope).max() < 1e-7
