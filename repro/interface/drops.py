"""What dropout and drop path leave out in training: drawn in NumPy, the same for every backend."""

from __future__ import annotations

import zlib
from collections import Counter

import numpy as np

from repro.interface.processes import ALONE, Processes


class Drops:
    """A repro.interface.Draw: numbers for Backend.drop_by, a function of the seed, the epoch, the layer's name and how
    often it has been asked in the epoch. So a run that goes on from an epoch drops what it would have dropped; and each
    of several processes drops from its share of a batch what one would drop there."""

    def __init__(self, seed: int, processes: Processes = ALONE):
        self.seed, self.processes = seed, processes
        self.begin(0)

    def begin(self, epoch: int) -> None:
        self.epoch = epoch
        self.asked: Counter[str] = Counter()

    def __call__(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        self.asked[name] += 1
        key = [self.seed, self.epoch, zlib.crc32(name.encode()), self.asked[name]]
        images = shape[0] * self.processes.count
        whole = np.random.default_rng(key).random((images, *shape[1:]), np.float32)
        return whole[self.processes.share(images)]
