"""The loss of each backend where probabilities underflow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

LOGITS = [[0.0, 30.0, 100.0, -50.0], [0.0, -70.0, -63.0, 1.0], [300.0, -300.0, 0.0, 2.0], [1.0, 2.0, 3.0, 4.0]]
LABELS = [0, 1, 1, 3]
SOFT_TARGETS = np.eye(4)[LABELS] * 0.5  # rows that do not sum to 1
SMOOTHING = [0.0, 0.1]


def test_logits_far_apart(backend: str, run_program: Callable[..., Any]) -> None:
    """Paddle's own loss never exceeds 64 on the CPU."""
    cases = [(smoothing, targets) for smoothing in SMOOTHING for targets in (np.eye(4)[LABELS], SOFT_TARGETS)]
    results = run_program(backend, "loss:losses", backend, LOGITS, LABELS, SOFT_TARGETS.tolist(), SMOOTHING)
    for (smoothing, targets), (loss, gradient) in zip(cases, results, strict=True):
        smoothed = (1 - smoothing) * targets + smoothing / 4
        logits = np.array(LOGITS)
        log_probabilities = logits - logits.max(1, keepdims=True)
        log_probabilities -= np.log(np.exp(log_probabilities).sum(1, keepdims=True))
        assert loss == pytest.approx(-(smoothed * log_probabilities).sum(1).mean(), rel=1e-6)
        expected = (np.exp(log_probabilities) * smoothed.sum(1, keepdims=True) - smoothed) / 4
        assert np.abs(np.array(gradient) - expected).max() < 1e-7
