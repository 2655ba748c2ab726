"""Data sets in MNIST's idx files (yann.lecun.com/exdb/mnist), plain or gzipped. Not trusted."""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from repro.data.decode import MAX_PIXELS
from repro.data.folder import same_classes
from repro.data.subset import ImageSource, Subset, numbered
from repro.errors import ReproError
from repro.untrusted import checked_array, reading

IMAGES, LABELS = "-images-idx3-ubyte", "-labels-idx1-ubyte"
TRAINING, VALIDATING = ("train",), ("t10k", "test")  # how the names of the two sets end
LARGEST = 2**30  # bytes of a file, unpacked
PIECE = 2**20


def sets(root: Path) -> list[str]:
    """Return the prefixes of the idx files of images in a folder, such as "t10k" and "train"; [] if there are none."""
    pattern = re.compile(rf"(.+){IMAGES}(\.gz)?")
    return sorted({match[1] for path in root.glob(f"*{IMAGES}*") if (match := pattern.fullmatch(path.name))})


def idx(root: Path) -> ImageSource:
    """The images of `sets`: train trains and t10k (or test) validates; one set alone is one part.

    The classes are the labels that there are, as text. All pixels are kept in memory, as bytes.
    Raises ReproError for other sets, for files that are missing, damaged or larger than LARGEST, and for labels that
    do not fit the images.
    """
    found = sets(root)
    parts = {name: _part(root, name) for name in found}
    if len(found) == 1:
        ((classes, part),) = parts.values()
        return ImageSource(classes, (part,))
    train, val = ([name for name in found if name.endswith(ends)] for ends in (TRAINING, VALIDATING))
    if len(found) > 2 or not train or not val:
        raise ReproError(f"{root} holds {', '.join(f'{name}{IMAGES}' for name in found)}; leave train and t10k, or one")
    both = {name: parts[name] for name in train + val}
    same_classes(root, {name: classes for name, (classes, _) in both.items()})
    return ImageSource(parts[train[0]][0], tuple(part for _, part in both.values()), f"files {train[0]} and {val[0]}")


def _part(root: Path, name: str) -> tuple[tuple[str, ...], Subset]:
    images, labels = _read(root, f"{name}{IMAGES}", 3), _read(root, f"{name}{LABELS}", 1)
    if len(images) != len(labels):
        raise ReproError(f"{name} of {root} has {len(images):,} images and {len(labels):,} labels; get its files again")
    values, positions = np.unique(labels, return_inverse=True)
    if len(values) < 2:
        raise ReproError(f"{name} of {root} has images of one class only: there is nothing to tell apart")
    return tuple(map(str, values.tolist())), numbered(images, positions, 5)


def _read(root: Path, name: str, axes: int) -> np.ndarray:
    """The bytes of a file with so many axes, as an array uint8. The header's sizes are not believed."""
    plain, packed = root / name, root / f"{name}.gz"
    path = packed if packed.is_file() and not plain.is_file() else plain
    with reading(path, f"an idx{axes} file of bytes"):
        try:
            with cast("BinaryIO", gzip.open(path)) if path == packed else path.open("rb") as file:
                header = _bytes(file, 4 + 4 * axes)
                magic, *shape = struct.unpack(f">{1 + axes}I", header)
                if magic != 0x800 + axes:
                    raise ValueError(f"it begins with {header[:4].hex(' ')}, not with 00 00 08 {axes:02x}")
                size = math.prod(shape)
                if not 0 < size <= LARGEST or math.prod(shape[1:]) > MAX_PIXELS:
                    raise ValueError(f"it claims to hold {' x '.join(map(str, shape))} bytes")
                return checked_array(_bytes(file, size + 1), "u1", shape)
        except zlib.error as error:
            raise ValueError(str(error)) from error


def _bytes(file: BinaryIO, count: int) -> bytes:
    """So many bytes of a file, or fewer at its end: in pieces, so that memory is taken only for what is there."""
    data = bytearray()
    while len(data) < count and (piece := file.read(min(PIECE, count - len(data)))):
        data += piece
    return bytes(data)
