"""Memory in which loading processes leave the pixels of batches: a pipe would copy them several times."""

from __future__ import annotations

import mmap
import os
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

Shape = tuple[int, int, int, int]  # images, channels, height, width


class Place(NamedTuple):
    """The place of a batch in the memory of another process."""

    path: str  # of the file in memory; any process of the same user can open it
    inode: int  # of the file: once it is closed, another one can have the path
    start: int  # first byte

    def array(self, shape: Shape) -> np.ndarray | None:
        """Return the pixels at this place, uint8 of this shape, or None if the system does not let this process in."""
        try:
            return _array(_memory(self.path, self.inode), self.start, shape)
        except OSError:
            return None


@lru_cache(maxsize=1)  # mapping takes time
def _memory(path: str, inode: int) -> mmap.mmap:
    """Return the contents of a file in memory. Raises OSError if this process may not open it, or it is another one."""
    with Path(path).open("r+b", buffering=0) as file:
        if os.fstat(file.fileno()).st_ino != inode:
            raise FileNotFoundError(path)
        return mmap.mmap(file.fileno(), 0, mmap.MAP_SHARED | mmap.MAP_POPULATE)


class SharedPixels:
    """A file in memory with places for batches; it ends with `close` or with this process.

    `places` is empty where the system has no files in memory, as outside Linux.
    """

    def __init__(self, count: int, size: int) -> None:
        """Make the file. count: number of places. size: bytes of each."""
        self.size = size
        self.places: list[Place] = []
        self._file: int | None = None
        with suppress(AttributeError, OSError):
            self._file = os.memfd_create("pixels")
            os.truncate(self._file, count * size)
            self._memory = mmap.mmap(self._file, count * size)
            path = f"/proc/{os.getpid()}/fd/{self._file}"
            inode = os.fstat(self._file).st_ino
            self.places = [Place(path, inode, number * size) for number in range(count)]

    def array(self, place: Place, shape: Shape) -> np.ndarray:
        """Return the pixels at a place, uint8 of this shape."""
        return _array(self._memory, place.start, shape)

    def close(self) -> None:
        """Free the memory, once no array refers to it any more. A process that still writes is not disturbed."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _array(memory: mmap.mmap, start: int, shape: Shape) -> np.ndarray:
    return np.ndarray(shape, np.uint8, memory, start)
