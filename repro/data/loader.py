"""Batches, loaded in this process or ahead of time in others."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing

import numpy as np

from repro.data.batch import Batch, Request, load
from repro.data.dataset import Dataset
from repro.data.loading_processes import LoadingProcesses
from repro.data.mixing import Mixing, mix_pairs
from repro.data.rng import random_stream
from repro.data.transform import Transform, Upload, unchanged
from repro.errors import ReproError


class Loader:
    """A source of batches: images float32 (N, channels, S, S), labels int64 (N,).

    The global batches are the same for any number of ranks and of processes. A rank reads and yields only its share, an
    equal part of each training batch, and every `world_size`-th validation batch. Processes start at the first batch
    and end with the `with` block. They import the main module, as multiprocessing does: a user's script needs `if
    __name__ == "__main__":`, and should not import a framework outside it.

    batch_size: images in a global batch, at least 1.
    workers: processes that load images; 0 loads them in this process.
    rank, world_size: this process among those that train together. Each must get the same number of images of a batch.
    balance: makes all classes count the same in training: "sampling" draws equally many images of each class, so that
    those of small classes are repeated; "loss" weights the targets of each class, with a mean of 1 over all images.
    upload: Backend.upload, to normalise and mix images on a GPU, to which they go as bytes; they stay there.
    Raises ReproError for values out of range.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        batch_size: int,
        seed: int = 0,
        workers: int = 0,
        rank: int = 0,
        world_size: int = 1,
        balance: str | None = None,
        upload: Upload = unchanged,
    ) -> None:
        if batch_size < 1:
            raise ReproError(f"batch size must be at least 1, not {batch_size}")
        if workers < 0:
            raise ReproError(f"workers must be 0 (load in this process) or more, not {workers}")
        self.dataset, self.batch_size, self.seed, self.workers = dataset, batch_size, seed, workers
        self.rank, self.world_size, self.balance, self.upload = rank, world_size, balance, upload
        if self._train_size % world_size:
            raise ReproError(f"a batch of {self._train_size} images has no equal parts for {world_size} processes")
        self._processes = LoadingProcesses(dataset, workers) if workers else None

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_: object) -> None:
        if self._processes:
            self._processes.close()

    @property
    def steps(self) -> int:
        """Return the number of batches in a training epoch."""
        return max(1, len(self.dataset.train) // self.batch_size)

    @property
    def _train_size(self) -> int:
        """Return the number of images in a global training batch."""
        return min(self.batch_size, len(self.dataset.train))

    @property
    def _val_starts(self) -> range:
        """Return the position of the first image of each validation batch of this rank."""
        return range(0, len(self.dataset.val), self.batch_size)[self.rank :: self.world_size]

    @property
    def val_steps(self) -> int:
        """Return the number of validation batches of this rank."""
        return len(self._val_starts)

    def names(self, epoch: int, step: int) -> list[str]:
        """Return the names of the images in a global training batch. Steps are counted from 1."""
        indices = self._order(epoch)[(step - 1) * self.batch_size : step * self.batch_size]
        return [self.dataset.train.names[index % len(self.dataset.train)] for index in indices]

    def _order(self, epoch: int) -> np.ndarray:
        rng, images = random_stream(self.seed, epoch), len(self.dataset.train)
        if self.balance == "sampling":
            return balanced_order(
                self.dataset.train.labels, len(self.dataset.classes), self.steps * self._train_size, rng
            )
        return rng.permutation(images)[: self.steps * self.batch_size]

    @property
    def _class_targets(self) -> np.ndarray | None:
        """Return the target of each class, float32 (classes, classes), if the loss is balanced."""
        if self.balance != "loss":
            return None
        counts = np.bincount(self.dataset.train.labels, minlength=len(self.dataset.classes))
        return np.diag(counts.sum() / (len(counts) * counts)).astype(np.float32)

    def train(
        self, epoch: int, transform: Transform, mixing: Mixing | None = None, *, start: int = 0
    ) -> Iterator[Batch]:
        """Yield this rank's share of `steps` batches of augmented training images in the order of `epoch`, from 0.

        The incomplete last batch is dropped; fewer images than a batch are one batch.
        start: the number of batches to leave out at the beginning of the epoch.
        mixing: mixes the images of every batch. A rank then also reads the images that it mixes with its own. With
        mixing or a balanced loss, soft targets float32 (N, classes) are in place of the labels.
        Raises ReproError for an image that cannot be decoded.
        """
        order, size = self._order(epoch), self._train_size
        count = size // self.world_size
        share = slice(self.rank * count, (self.rank + 1) * count)
        positions = np.arange(size)[share]  # positions of the images to read in the global batch
        if mixing:
            positions = np.union1d(positions, size - 1 - positions)
        requests = (
            Request(order[step * size + positions], transform, (self.seed, epoch)) for step in range(start, self.steps)
        )
        class_targets = self._class_targets
        soft_targets = np.eye(len(self.dataset.classes), dtype=np.float32) if class_targets is None else class_targets
        first, first_partner = np.searchsorted(positions, [share.start, size - share.stop])
        own, partners = slice(first, first + count), slice(first_partner, first_partner + count)
        for step, (images, labels) in enumerate(self._load(requests, len(positions), transform), start):
            if mixing:
                draws = mixing.draw(size, images.shape[2:], random_stream(self.seed, epoch, step, 0)).of(share)
                pairs = (images[own], labels[own]), (images[partners], labels[partners])
                yield mix_pairs(*pairs, draws, soft_targets)
            else:
                yield images, labels if class_targets is None else class_targets[labels]

    def val(self, transform: Transform) -> Iterator[Batch]:
        """Yield this rank's batches of the validation images, which are in order; the last batch may be smaller."""
        indices = np.arange(len(self.dataset.val))
        requests = (Request(indices[start : start + self.batch_size], transform, None) for start in self._val_starts)
        return self._load(requests, min(self.batch_size, len(indices)), transform)

    def _load(self, requests: Iterator[Request], images: int, transform: Transform) -> Iterator[Batch]:
        """Yield the images of each request, normalised, and their labels. images: the most images of a request."""
        loaded: Generator[Batch, None, None] = (load(self.dataset, request) for request in requests)
        if self._processes:
            loaded = self._processes.load(requests, images * transform.channels * transform.image_size**2)
        with closing(loaded):
            for pixels, labels in loaded:
                yield transform.normalise(pixels, self.upload), labels


def balanced_order(labels: np.ndarray, classes: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Return `size` images in random order. The numbers of images of any two classes differ by at most one.

    Images are repeated once all of their class were drawn. The result, int64 (size,), is index + repetition * images.
    """
    counts = np.full(classes, size // classes)
    counts[rng.permutation(classes)[: size % classes]] += 1
    drawn = []
    for label, count in enumerate(counts.tolist()):
        members = np.flatnonzero(labels == label)
        rounds = [rng.permutation(members) + n * len(labels) for n in range(-(-count // len(members)))]
        drawn.append(np.concatenate([*rounds, members[:0]])[:count])
    return rng.permutation(np.concatenate(drawn))
