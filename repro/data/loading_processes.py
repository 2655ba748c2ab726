"""Processes that load batches ahead of time."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from itertools import islice
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Lock

import numpy as np

from repro.data.batch import Batch, Request, load
from repro.data.dataset import Dataset
from repro.data.shared_pixels import Place, SharedPixels
from repro.errors import ReproError

AHEAD = 2  # batches in flight per process: one being loaded, and the next
Loaded = tuple[np.ndarray | None, np.ndarray]  # pixels, unless they are at their place, and labels


class LoadingProcesses:
    """Processes that load batches of a data set. They start at the first batch."""

    def __init__(self, dataset: Dataset, count: int) -> None:
        self.count = count
        spawn = multiprocessing.get_context("spawn")  # a fork would copy a framework's locks without their threads
        self.reader, writer = spawn.Pipe(duplex=False)
        threading.Thread(target=_send_dataset, args=(writer, dataset, count), daemon=True).start()
        self.pool = ProcessPoolExecutor(count, spawn, _start, (self.reader, spawn.Lock()))
        self.idle: SharedPixels | None = None  # kept for the next epoch, since new memory takes time

    def close(self) -> None:
        """End the processes."""
        self.pool.shutdown(cancel_futures=True)
        self.reader.close()
        self._keep(None)

    def load(self, requests: Iterator[Request], size: int) -> Generator[Batch, None, None]:
        """Yield the batch of each request, as `load` returns it, while the next ones are being loaded.

        The pixels are valid until the next batch. size: the most bytes of a batch's pixels.
        Raises ReproError for an image that cannot be decoded, and for a process that died.
        """
        waiting: deque[tuple[Request, Place | None, Future[Loaded]]] = deque()
        shared, self.idle = self.idle, None
        if shared is None or shared.size < size:
            shared = SharedPixels(AHEAD * self.count + 1, size)
        free = deque(shared.places)

        def submit(count: int) -> None:
            for request in islice(requests, count):
                place = free.popleft() if free else None
                waiting.append((request, place, self._submit(request, place)))

        try:
            submit(AHEAD * self.count)
            while waiting:
                request, place, future = waiting.popleft()
                pixels, labels = future.result()
                submit(1)
                if place:
                    yield shared.array(place, request.shape) if pixels is None else pixels, labels
                    free.append(place)
                else:
                    assert pixels is not None
                    yield pixels, labels
        except BrokenProcessPool as error:
            raise ReproError(
                "a process that loads images died (perhaps killed for lack of memory); try fewer workers, or 0"
            ) from error
        finally:  # also when the iterator is abandoned
            for _, _, future in waiting:
                future.cancel()
            if waiting:  # processes may still write
                shared.close()
            else:
                self._keep(shared)

    def _keep(self, shared: SharedPixels | None) -> None:
        """Keep memory that no process uses for the next epoch, and free what was kept before."""
        if self.idle:
            self.idle.close()
        self.idle = shared

    def _submit(self, request: Request, place: Place | None) -> Future[Loaded]:
        """Request a batch. The pool starts processes meanwhile; they inherit the blocked SIGINT, so that only the
        parent handles Ctrl-C, which reaches all of them."""
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return self.pool.submit(_load, request, place)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _send_dataset(writer: Connection, dataset: Dataset, workers: int) -> None:
    """Send the data set to each process, from a thread.

    As an argument of the processes, it would be sent while they start, and this process would wait forever for one that
    died meanwhile, such as for lack of `if __name__ == "__main__":`.
    """
    with writer, suppress(OSError):  # no process reads any more
        for _ in range(workers):
            writer.send(dataset)


_dataset: Dataset  # in a loading process; global, so that it is sent once and not with every request


def _start(reader: Connection, lock: Lock) -> None:
    """Prepare this process for loading."""
    global _dataset  # noqa: PLW0603
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    with lock:
        _dataset = reader.recv()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)  # otherwise this process would wait for requests forever


def _load(request: Request, place: Place | None) -> tuple[np.ndarray | None, np.ndarray]:
    """Return labels, and the pixels unless they are left at their place."""
    shared = place.array(request.shape) if place else None
    images, labels = load(_dataset, request, shared)
    return (images if shared is None else None), labels
