"""The random numbers of dropout and drop path, drawn in NumPy so that every backend drops the same."""

from __future__ import annotations

import zlib
from collections import Counter

import numpy as np

from repro.interface.processes import SINGLE_PROCESS, ProcessGroup


class SeededDropout:
    """A repro.interface.contract.DropoutSource.

    Its numbers are a function of the seed, the epoch, the name of the layer and how often the layer has asked in this
    epoch. A run that is resumed after an epoch therefore drops what it would have dropped, and every rank drops from
    its slice of the global batch what a single process would drop there.
    """

    def __init__(self, seed: int, processes: ProcessGroup = SINGLE_PROCESS):
        self.seed, self.processes = seed, processes
        self.begin_epoch(0)

    def begin_epoch(self, epoch: int) -> None:
        """Start the numbers of an epoch."""
        self.epoch = epoch
        self.calls: Counter[str] = Counter()

    def __call__(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Uniform float32 numbers in [0, 1) of this shape, whose first axis is the rank's images."""
        self.calls[name] += 1
        key = [self.seed, self.epoch, zlib.crc32(name.encode()), self.calls[name]]
        images = shape[0] * self.processes.world_size
        whole = np.random.default_rng(key).random((images, *shape[1:]), np.float32)
        return whole[self.processes.local_slice(images)]
