"""The loss of each backend where probabilities underflow."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest

LOGITS = [[0.0, 30.0, 100.0, -50.0], [0.0, -70.0, -63.0, 1.0], [300.0, -300.0, 0.0, 2.0], [1.0, 2.0, 3.0, 4.0]]
LABELS = [0, 1, 1, 3]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("soft", [False, True])
def test_distant_logits(backend: str, smoothing: float, soft: bool, run_in: Callable[[str, str], str]) -> None:
    """In Paddle no loss exceeds 64 on the CPU, unless it is written out."""
    targets = np.eye(4)[LABELS] * (0.5 if soft else 1.0)
    printed = run_in(backend, f"""
import json
import numpy as np
from backends.{backend} import create_model, create_trainer
from repro.interface import TrainSettings
model = create_model("asymmnet_small_x0_35", num_classes=4)
trainer = create_trainer(model, TrainSettings(label_smoothing={smoothing}))
targets = np.array({targets.tolist() if soft else LABELS}, np.{"float32" if soft else "int64"})
loss, gradient = trainer.loss(np.array({LOGITS}, np.float32), targets)
print("found", json.dumps([loss, gradient.tolist()]))
""")  # fmt: skip
    loss, gradient = json.loads(printed.split("found", 1)[1])
    wanted = (1 - smoothing) * targets + smoothing / 4
    logits = np.array(LOGITS)
    logs = logits - logits.max(1, keepdims=True)
    logs -= np.log(np.exp(logs).sum(1, keepdims=True))
    assert loss == pytest.approx(-(wanted * logs).sum(1).mean(), rel=1e-6)
    slope = (np.exp(logs) * wanted.sum(1, keepdims=True) - wanted) / 4
    assert np.abs(np.array(gradient) - slope).max() < 1e-7
