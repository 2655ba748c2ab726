"""Images that are stored inside larger files, at known offsets, and the paths of the user's cache for such files."""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from repro.data.decode import Divisor, decode
from repro.files import user_cache
from repro.untrusted import reading


@dataclass(frozen=True, eq=False)
class PackedImages:
    """Reads images that are stored inside larger files.

    root: the folder that messages name. files: FILE -> path of the larger file. expected: a description of
    these files, for messages. names: "FILE/NAME" of each image, sorted. starts, sizes: int64 (N,), offset and number of
    bytes of each image in its file.
    """

    root: Path
    files: Mapping[str, Path]
    expected: str
    names: tuple[str, ...]
    starts: np.ndarray
    sizes: np.ndarray

    def __call__(self, name: str, divisor: Divisor | None = None) -> Image.Image:
        index = bisect_left(self.names, name)
        path = self.files[name.partition("/")[0]]
        with reading(path, self.expected), path.open("rb") as file:
            file.seek(int(self.starts[index]))
            content = file.read(int(self.sizes[index]))
        return decode(self.root / name, BytesIO(content), divisor)


def cache_place(kind: str, file: Path) -> tuple[Path, list[int]]:
    """Return the path, without a suffix, of a file's data in the user's cache, and the file's size and time.

    The data are valid only for this size and time. kind: the name of a folder of the cache. Raises OSError if the file
    does not exist or cannot be accessed.
    """
    status = file.stat()
    name = hashlib.sha256(os.fsencode(file.resolve())).hexdigest()[:32]
    return user_cache(kind) / name, [status.st_size, status.st_mtime_ns]
