"""Data sets in MNIST's idx files (yann.lecun.com/exdb/mnist), plain or gzipped, which are untrusted."""

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
from repro.data.folder import check_same_classes
from repro.data.subset import ImageSource, Subset, numbered
from repro.errors import ReproError
from repro.untrusted import checked_array, reading

IMAGES, LABELS = "-images-idx3-ubyte", "-labels-idx1-ubyte"
TRAINING, VALIDATION = ("train",), ("t10k", "test")  # endings of the prefixes
LARGEST = 2**30  # bytes of a file, unpacked
PIECE = 2**20


def idx_prefixes(root: Path) -> list[str]:
    """Return the prefixes of the idx files of images in a folder, such as "t10k" and "train"; [] if there are none."""
    pattern = re.compile(rf"(.+){IMAGES}(\.gz)?")
    return sorted({match[1] for path in root.glob(f"*{IMAGES}*") if (match := pattern.fullmatch(path.name))})


def idx_source(root: Path) -> ImageSource:
    """Return the images of the idx files in a folder: train trains, and t10k (or test) validates, if both exist.

    The classes are the labels in the files, as text. All pixels are kept in memory, as bytes.
    Raises ReproError for other prefixes, for files that are missing, damaged or larger than LARGEST, and for labels
    that do not fit the images.
    """
    prefixes = idx_prefixes(root)
    subsets = {prefix: _subset(root, prefix) for prefix in prefixes}
    if len(prefixes) == 1:
        ((classes, images),) = subsets.values()
        return ImageSource(classes, (images,))
    train, val = ([prefix for prefix in prefixes if prefix.endswith(ends)] for ends in (TRAINING, VALIDATION))
    if len(prefixes) > 2 or not train or not val:
        names = ", ".join(f"{prefix}{IMAGES}" for prefix in prefixes)
        raise ReproError(f"{root} holds {names}; leave train and t10k, or one")
    (train_classes, train_images), (val_classes, val_images) = subsets[train[0]], subsets[val[0]]
    check_same_classes(root, {train[0]: train_classes, val[0]: val_classes})
    return ImageSource(train_classes, (train_images, val_images), f"files {train[0]} and {val[0]}")


def _subset(root: Path, prefix: str) -> tuple[tuple[str, ...], Subset]:
    """Return the classes and the images of the two files with this prefix."""
    images, labels = _read(root, f"{prefix}{IMAGES}", 3), _read(root, f"{prefix}{LABELS}", 1)
    if len(images) != len(labels):
        raise ReproError(
            f"{prefix} of {root} has {len(images):,} images and {len(labels):,} labels; get its files again"
        )
    values, positions = np.unique(labels, return_inverse=True)
    if len(values) < 2:
        raise ReproError(f"{prefix} of {root} has images of only one class; a classifier needs two")
    return tuple(map(str, values.tolist())), numbered(images, positions, 5)


def _read(root: Path, name: str, axes: int) -> np.ndarray:
    """Return the bytes of a file with this number of axes, as uint8. The sizes in its header are not trusted."""
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
    """Return up to `count` bytes of a file, read in pieces, so that only bytes that exist take memory."""
    data = bytearray()
    while len(data) < count and (piece := file.read(min(PIECE, count - len(data)))):
        data += piece
    return bytes(data)
