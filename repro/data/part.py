"""Named, labelled images, each read when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image


@dataclass(frozen=True, eq=False)
class Part:
    names: tuple[str, ...]
    labels: np.ndarray  # int64 (N,), positions in the data set's classes
    read: Callable[[str], Image.Image]  # name -> RGB image; picklable, because loading processes have it too

    def __len__(self) -> int:
        return len(self.names)

    def image(self, index: int) -> Image.Image:
        """The RGB image in its own size. Raises ReproError for a file that cannot be decoded."""
        return self.read(self.names[index])

    def select(self, mask: np.ndarray) -> Part:
        """The samples for which `mask`, bool (N,), is true."""
        return Part(tuple(self.names[i] for i in np.flatnonzero(mask)), self.labels[mask], self.read)
