"""Batches, loaded in this process or ahead of time in others."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, suppress
from functools import partial
from itertools import islice
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Lock
from typing import NamedTuple

import numpy as np

from repro.data.dataset import Dataset
from repro.data.mixing import Mixing, mix_pairs
from repro.data.rng import random_stream
from repro.data.transform import Transform
from repro.errors import ReproError
from repro.memory import keep_freed_memory

AHEAD = 2  # batches in flight per process: one being loaded, and the next
Batch = tuple[np.ndarray, np.ndarray]  # images, labels or soft targets


class Request(NamedTuple):
    """The description of a batch that a loading process receives."""

    indices: np.ndarray  # int64 (N,); those of repetitions in an epoch are larger by multiples of the number of images
    transform: Transform
    draw: tuple[int, int] | None  # (seed, epoch) of a training batch; None: validation images, not augmented


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
    ) -> None:
        if batch_size < 1:
            raise ReproError(f"batch size must be at least 1, not {batch_size}")
        if workers < 0:
            raise ReproError(f"workers must be 0 (load in this process) or more, not {workers}")
        self.dataset, self.batch_size, self.seed, self.workers = dataset, batch_size, seed, workers
        self.rank, self.world_size, self.balance = rank, world_size, balance
        if self._train_size % world_size:
            raise ReproError(f"a batch of {self._train_size} images has no equal parts for {world_size} processes")
        self._pool = None
        if workers:
            spawn = multiprocessing.get_context("spawn")  # a fork would copy a framework's locks without their threads
            self._reader, writer = spawn.Pipe(duplex=False)
            threading.Thread(target=_send_dataset, args=(writer, dataset, workers), daemon=True).start()
            self._pool = ProcessPoolExecutor(workers, spawn, _start, (self._reader, spawn.Lock()))

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)
            self._reader.close()

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
        for step, (images, labels) in enumerate(self._load(requests, transform), start):
            if mixing:
                draws = mixing.draw(size, images.shape[2:], random_stream(self.seed, epoch, step, 0)).of(share)
                reversed_partners = images[partners][::-1], labels[partners][::-1]
                yield mix_pairs((images[own], labels[own]), reversed_partners, draws, soft_targets)
            else:
                yield images, labels if class_targets is None else class_targets[labels]

    def val(self, transform: Transform) -> Iterator[Batch]:
        """Yield this rank's batches of the validation images, which are in order; the last batch may be smaller."""
        indices = np.arange(len(self.dataset.val))
        requests = (Request(indices[start : start + self.batch_size], transform, None) for start in self._val_starts)
        return self._load(requests, transform)

    def _load(self, requests: Iterator[Request], transform: Transform) -> Iterator[Batch]:
        """Yield the images of each request, normalised, and their labels."""
        in_process = (load(self.dataset, request) for request in requests)
        with closing(_ahead(self._pool, requests, AHEAD * self.workers) if self._pool else in_process) as loaded:
            for pixels, labels in loaded:
                yield transform.normalise(pixels), labels


def load(dataset: Dataset, request: Request) -> Batch:
    """Return pixels uint8 (N, channels, S, S) and labels int64 (N,).

    Raises ReproError for an image that cannot be decoded.
    """
    indices, transform, draw = request
    subset = dataset.val if draw is None else dataset.train
    size, channels = transform.image_size, transform.channels
    images = np.empty((len(indices), channels, size, size), np.uint8)
    for position, number in enumerate(indices.tolist()):
        repetition, index = divmod(number, len(subset))
        key = (index, repetition) if repetition else (index,)
        rng = None if draw is None else random_stream(*draw, *key)
        image = transform.load(partial(subset.image, index), rng)
        images[position] = [np.asarray(plane) for plane in image.split()]
    return images, subset.labels[indices % len(subset)]


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


def _ahead(pool: ProcessPoolExecutor, requests: Iterator[Request], ahead: int) -> Generator[Batch, None, None]:
    """Yield batches in order, while the next `ahead` are being loaded."""
    waiting: deque[Future[Batch]] = deque()
    try:
        waiting.extend(_submit(pool, request) for request in islice(requests, ahead))
        while waiting:
            batch = waiting.popleft().result()
            waiting.extend(_submit(pool, request) for request in islice(requests, 1))
            yield batch
    except BrokenProcessPool as error:
        raise ReproError(
            "a process that loads images died (perhaps killed for lack of memory); try fewer workers, or 0"
        ) from error
    finally:  # also when the iterator is abandoned
        for future in waiting:
            future.cancel()


def _submit(pool: ProcessPoolExecutor, request: Request) -> Future[Batch]:
    """Request a batch. The pool starts processes meanwhile; they inherit the blocked SIGINT, so that only the parent
    handles Ctrl-C, which reaches all of them."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool.submit(_load, request)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


_dataset: Dataset  # in a loading process; global, so that it is sent once and not with every request


def _send_dataset(writer: Connection, dataset: Dataset, workers: int) -> None:
    """Send the data set to each process, from a thread.

    As an argument of the processes, it would be sent while they start, and this process would wait forever for one that
    died meanwhile, such as for lack of `if __name__ == "__main__":`.
    """
    with writer, suppress(OSError):  # no process reads any more
        for _ in range(workers):
            writer.send(dataset)


def _start(reader: Connection, lock: Lock) -> None:
    """Prepare this process for loading."""
    global _dataset  # noqa: PLW0603
    keep_freed_memory()  # otherwise the system clears the pages of every batch anew
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    with lock:
        _dataset = reader.recv()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)  # otherwise this process would wait for requests forever


def _load(request: Request) -> Batch:
    return load(_dataset, request)
