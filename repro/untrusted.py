"""What every reader of a foreign file needs: one kind of error, and arrays whose claimed shape is never believed."""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from zipfile import BadZipFile

import ml_dtypes
import numpy as np

from repro.errors import ReproError

LONGEST_NAME = 1000
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)  # which NumPy lacks
# What a parser runs into on bytes that are not what they claim to be; anything else is a mistake of ours.
DAMAGE = (
    ValueError, TypeError, LookupError, ArithmeticError, OSError, EOFError, MemoryError, NotImplementedError,
    RecursionError, BadZipFile, struct.error,
)  # fmt: skip


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Turns whatever the bytes of `path` cause into a ReproError of one line; `what` says what was expected."""
    if not path.is_file():
        raise ReproError(f"{path} is {'a folder' if path.is_dir() else 'missing'}; give {what}")
    try:
        yield
    except DAMAGE as error:
        raise ReproError(f"cannot read {path} as {what}: {printable(str(error)) or type(error).__name__}") from error


def map_file(path: Path) -> memoryview:
    """The bytes of a file, in memory only while somebody looks at them. Raises ValueError for an empty one."""
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def printable(text: str) -> str:
    """Text of a foreign file, fit for a line on a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:300])


def checked_name(name: str) -> str:
    """The name itself. Raises ValueError for one that is empty, too long or not printable."""
    if not name.isprintable() or not 0 < len(name) <= LONGEST_NAME:
        raise ValueError(f"it holds an array with the name {name[:40]!r}")
    return name


def checked_array(data: bytes | memoryview, dtype: str | np.dtype, shape: object) -> np.ndarray:
    """A read-only view of `data` as an array of `dtype`. Raises ValueError unless `shape` accounts for every byte."""
    sides = checked_sizes(shape)
    expected = math.prod(sides) * np.dtype(dtype).itemsize
    if expected != len(data):
        raise ValueError(f"an array of shape {sides} and type {dtype} has {expected} bytes, not {len(data)}")
    return np.frombuffer(data, dtype).reshape(sides)


def checked_sizes(values: object) -> tuple[int, ...]:
    """A claimed shape or tuple of strides. Raises ValueError for anything but up to 32 whole numbers from 0 to 2^62."""
    if not isinstance(values, (tuple, list)) or len(values) > 32:
        raise ValueError("an array's shape is not a short tuple")
    if not all(type(value) is int and 0 <= value < 2**62 for value in values):
        raise ValueError("an array's shape or strides hold something else than sizes")
    return tuple(values)


def dtype_names(
    arrays: Mapping[str, np.ndarray], codes: Mapping[str, str | np.dtype], kind_of_file: str
) -> dict[str, str]:
    """What a file calls the type of each array.

    codes: the file's word for a type -> NumPy's code of it. Raises ReproError for a type that the file cannot hold.
    """
    words = {np.dtype(code): word for word, code in codes.items()}
    found = {}
    for name, array in arrays.items():
        if array.dtype.newbyteorder("<") not in words:
            raise ReproError(f"{name} holds {array.dtype}, which a {kind_of_file} file cannot; give it as float32")
        found[name] = words[array.dtype.newbyteorder("<")]
    return found


def raw_bytes(array: np.ndarray) -> memoryview:
    """The little-endian bytes of an array in C order, copied only where it lies otherwise in memory."""
    flat = np.asarray(array, array.dtype.newbyteorder("<"), order="C").reshape(-1)
    return flat.view(np.uint8).data
