"""Images whose files lie in larger files, at known places, and the names under which the user's cache keeps these."""

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
    """Reads images that lie in larger files.

    root: the folder that messages name. files: what is read, by the first part of an image's name. what: what messages
    call such a file. names: "FILE/NAME", sorted. starts, sizes: int64 (N,), the bytes of each image in its file.
    """

    root: Path
    files: Mapping[str, Path]
    what: str
    names: tuple[str, ...]
    starts: np.ndarray
    sizes: np.ndarray

    def __call__(self, name: str, divisor: Divisor | None = None) -> Image.Image:
        index = bisect_left(self.names, name)
        path = self.files[name.partition("/")[0]]
        with reading(path, self.what), path.open("rb") as file:
            file.seek(int(self.starts[index]))
            content = file.read(int(self.sizes[index]))
        return decode(self.root / name, BytesIO(content), divisor)


def cache_place(kind: str, file: Path) -> tuple[Path, list[int]]:
    """Return where the user's cache keeps what is known of a file, without an ending, and for what size and time.

    kind: the name of a folder of the cache. Raises OSError if the file cannot be looked at.
    """
    status = file.stat()
    name = hashlib.sha256(os.fsencode(file.resolve())).hexdigest()[:32]
    return user_cache(kind) / name, [status.st_size, status.st_mtime_ns]
