"""Cross-entropy, correct predictions, and their means over an epoch."""

from __future__ import annotations

import math

import numpy as np
import pytest

from repro.training.meters import Meter, correct, cross_entropy


def test_cross_entropy() -> None:
    logits, labels = np.array([[2.0, 1.0, 0.0], [0.0, 0.0, 0.0]], np.float32), np.array([0, 2])
    assert cross_entropy(logits, labels) == pytest.approx((math.log(1 + math.exp(-1) + math.exp(-2)) + math.log(3)) / 2)
    assert logits[0, 0] == 2  # the caller's array is unchanged


def test_cross_entropy_of_large_logits_is_finite() -> None:
    assert cross_entropy(np.array([[3e38, -3e38]], np.float32), np.array([1])) == pytest.approx(6e38)


@pytest.mark.parametrize("logit", [np.nan, np.inf])
def test_cross_entropy_of_nan_or_infinite_logits_is_not_finite(logit: float) -> None:
    assert not math.isfinite(cross_entropy(np.array([[0.0, logit]], np.float32), np.array([0])))


def test_correct_counts_labels_among_the_k_largest_logits() -> None:
    logits = np.array([[0, 1, 2, 3, 4, 5]] * 6, np.float32)
    labels = np.arange(6)
    assert [correct(logits, labels, k) for k in (1, 2, 5, 6)] == [1, 2, 5, 6]


def test_correct_with_fewer_classes_than_k() -> None:
    assert correct(np.array([[0.0, 1.0]], np.float32), np.array([0]), 5) == 1


def test_correct_does_not_reward_constant_or_nan_outputs() -> None:
    labels = np.arange(10)
    assert correct(np.zeros((10, 10), np.float32), labels, 1) == 1
    assert correct(np.zeros((10, 10), np.float32), labels, 5) == 5
    assert correct(np.full((10, 10), np.nan, np.float32), labels, 5) == 0
    assert correct(np.array([[np.nan, 1.0]], np.float32), np.array([1]), 5) == 0


def test_meter_weights_batches_by_their_size() -> None:
    meter = Meter()
    meter.add(1.0, np.eye(3, dtype=np.float32), np.arange(3))
    meter.add(5.0, np.eye(3, dtype=np.float32)[:1], np.array([1]))
    assert (meter.images, meter.loss, meter.top1, meter.top5) == (4, 2.0, 0.75, 1.0)
