"""The random numbers of dropout and drop path, drawn in NumPy so that every backend drops the same."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping

import numpy as np

from repro.interface.processes import SINGLE_PROCESS, ProcessGroup

SELU_LIMIT = -1.7580993408473766  # SELU's limit for ever smaller inputs, minus scale times alpha (arXiv:1706.02515)


def alpha_dropout_map(rate: float) -> tuple[float, float]:
    """The scale and the shift that alpha dropout applies once dropped values are SELU_LIMIT (arXiv:1706.02515).

    They keep a mean of 0 and a variance of 1. With a rate of 1 every value is dropped, and the result is 0.
    """
    if rate == 1:
        return 0.0, 0.0
    scale = ((1 - rate) * (1 + rate * SELU_LIMIT**2)) ** -0.5
    return scale, -scale * SELU_LIMIT * rate


class SeededDropout:
    """A repro.interface.contract.DropoutSource.

    Its numbers are a function of the seed, the epoch, the name of the layer and the number of steps of this epoch in
    which the layer has run, so that a resumed run drops the same values as an uninterrupted one, and every rank drops
    the same values of its slice of the global batch as a single process would.

    parts: the number of parts in which a rank computes its slice, one after the other.
    """

    def __init__(self, seed: int, processes: ProcessGroup = SINGLE_PROCESS, parts: int = 1):
        self.seed, self.processes, self.parts = seed, processes, parts
        self.begin_epoch(0)

    def begin_epoch(self, epoch: int, steps: Mapping[str, int] | None = None) -> None:
        """Start the numbers of an epoch. steps: those in which each layer has already run, if resumed."""
        self.epoch = epoch
        self._calls = Counter({name: self.parts * count for name, count in (steps or {}).items()})

    @property
    def steps(self) -> dict[str, int]:
        """The number of steps of this epoch in which each layer has run. Read it between steps."""
        return {name: calls // self.parts for name, calls in self._calls.items()}

    def __call__(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Uniform float32 numbers in [0, 1) of this shape, whose first axis is the images of the rank's next part."""
        step, part = divmod(self._calls[name], self.parts)
        self._calls[name] += 1
        key = [self.seed, self.epoch, zlib.crc32(name.encode()), step + 1]
        images = shape[0]
        start = (self.processes.rank * self.parts + part) * images
        whole = (images * self.parts * self.processes.world_size, *shape[1:])
        return np.random.default_rng(key).random(whole, np.float32)[start : start + images]
