"""Loss and accuracy, counted in NumPy so that they mean the same in every backend."""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np

from repro.interface.processes import ProcessGroup


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean cross-entropy of logits (N, classes) and labels int64 (N,), worked out in float64. NaN where a logit is."""
    logits = logits.astype(np.float64)
    with np.errstate(invalid="ignore"):  # infinite logits yield NaN, which the loop reports
        logits -= logits.max(axis=1, keepdims=True)
        chosen = logits[np.arange(len(labels)), labels]
        return float(np.mean(np.log(np.exp(logits).sum(axis=1)) - chosen))


def correct(logits: np.ndarray, labels: np.ndarray, k: int) -> int:
    """How many of logits (N, classes) have their label among the k largest; int from 0 to N.

    Equal logits rank by class, as in argmax, so that a constant output is not right everywhere. An image with a NaN
    among its logits is wrong.
    """
    own = logits[np.arange(len(labels)), labels][:, None]
    earlier = np.arange(logits.shape[1]) < labels[:, None]
    rank = ((logits > own) | ((logits == own) & earlier)).sum(axis=1)
    return int(((rank < k) & ~np.isnan(logits).any(axis=1)).sum())


@dataclass
class Meter:
    """Means over the images of an epoch. Accuracies are from 0 to 1."""

    images: int = 0
    total_loss: float = 0.0
    top1_count: int = 0
    top5_count: int = 0

    def add(self, loss: float, logits: np.ndarray, labels: np.ndarray) -> None:
        """Counts a batch whose mean loss is `loss`."""
        self.images += len(labels)
        self.total_loss += loss * len(labels)
        self.top1_count += correct(logits, labels, 1)
        self.top5_count += correct(logits, labels, 5)

    def all_reduced(self, processes: ProcessGroup) -> Meter:
        """Return the sum of every rank's meter. Collective: every rank must call it."""
        numbers = processes.all_reduce_sum(np.array(astuple(self), np.float64))
        images, total_loss, top1_count, top5_count = numbers.tolist()
        return Meter(int(images), total_loss, int(top1_count), int(top5_count))

    @property
    def loss(self) -> float:
        """The mean loss of an image."""
        return self.total_loss / self.images

    @property
    def top1(self) -> float:
        """The top-1 accuracy in [0, 1]."""
        return self.top1_count / self.images

    @property
    def top5(self) -> float:
        """The top-5 accuracy in [0, 1]."""
        return self.top5_count / self.images
