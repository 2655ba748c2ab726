"""Loss and accuracy, computed in NumPy so that every backend computes them alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np

from repro.interface.processes import ProcessGroup


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean cross-entropy of logits (N, classes) and class indices int64 (N,), computed in float64.

    NaN or infinite logits yield NaN.
    """
    logits = logits.astype(np.float64)
    with np.errstate(invalid="ignore"):  # the loop reports NaN
        logits -= logits.max(axis=1, keepdims=True)
        label_logits = logits[np.arange(len(labels)), labels]
        return float(np.mean(np.log(np.exp(logits).sum(axis=1)) - label_logits))


def correct(logits: np.ndarray, labels: np.ndarray, k: int) -> int:
    """Return the number of images, from 0 to N, whose label is among the k largest of their logits (N, classes).

    Equal logits rank by class index, as in argmax, so that a constant output is not correct for every image. An image
    with a NaN among its logits is not correct.
    """
    label_logits = logits[np.arange(len(labels)), labels][:, None]
    lower_index = np.arange(logits.shape[1]) < labels[:, None]
    ranks = ((logits > label_logits) | ((logits == label_logits) & lower_index)).sum(axis=1)
    return int(((ranks < k) & ~np.isnan(logits).any(axis=1)).sum())


@dataclass
class Meter:
    """The mean loss and the accuracies of the images of an epoch."""

    images: int = 0
    total_loss: float = 0.0
    top1_count: int = 0
    top5_count: int = 0

    def add(self, loss: float, logits: np.ndarray, labels: np.ndarray) -> None:
        """Count a batch of logits (N, classes) and class indices (N,), whose mean loss is `loss`."""
        self.images += len(labels)
        self.total_loss += loss * len(labels)
        self.top1_count += correct(logits, labels, 1)
        self.top5_count += correct(logits, labels, 5)

    def gathered(self, processes: ProcessGroup) -> list[list[float]]:
        """Return the values of every rank's meter. Collective: every rank must call it."""
        rows = np.zeros((processes.world_size, 4))
        rows[processes.rank] = astuple(self)
        return processes.all_reduce_sum(rows.ravel()).reshape(rows.shape).tolist()

    @classmethod
    def restored(cls, rows: Sequence[Sequence[float]], processes: ProcessGroup) -> Meter:
        """Return this rank's meter from the rows that `gathered` returned, perhaps at another world size."""
        if len(rows) == processes.world_size:
            values = list(rows[processes.rank])
        elif rows and processes.is_main:
            values = [sum(column) for column in zip(*rows, strict=True)]
        else:
            return cls()
        images, total_loss, top1_count, top5_count = values
        return cls(int(images), total_loss, int(top1_count), int(top5_count))

    def all_reduced(self, processes: ProcessGroup) -> Meter:
        """Return the sum of every rank's meter. Collective: every rank must call it."""
        sums = processes.all_reduce_sum(np.array(astuple(self), np.float64))
        images, total_loss, top1_count, top5_count = sums.tolist()
        return Meter(int(images), total_loss, int(top1_count), int(top5_count))

    @property
    def loss(self) -> float:
        """The mean loss per image."""
        return self.total_loss / self.images

    @property
    def top1(self) -> float:
        """The top-1 accuracy in [0, 1]."""
        return self.top1_count / self.images

    @property
    def top5(self) -> float:
        """The top-5 accuracy in [0, 1]."""
        return self.top5_count / self.images
