"""Helpers for readers of untrusted files: one kind of error, and arrays whose claimed shape is checked first."""

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
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)  # NumPy itself lacks it
# What a parser may raise on malformed bytes; any other exception is a bug.
PARSE_ERRORS = (
    ValueError, TypeError, LookupError, ArithmeticError, OSError, EOFError, MemoryError, NotImplementedError,
    RecursionError, BadZipFile, struct.error,
)  # fmt: skip


@contextmanager
def reading(path: Path, expected: str) -> Iterator[None]:
    """Turn every parse error inside the block into a ReproError of one line.

    expected: a description of the file, such as "a MindSpore .ckpt file". Raises ReproError for a missing file.
    """
    if not path.is_file():
        raise ReproError(f"{path} is {'a folder' if path.is_dir() else 'missing'}; give {expected}")
    try:
        yield
    except PARSE_ERRORS as error:
        raise ReproError(
            f"cannot read {path} as {expected}: {printable(str(error)) or type(error).__name__}"
        ) from error


def map_file(path: Path) -> memoryview:
    """Return the bytes of a file, read from disk only where they are accessed. Raises ValueError for an empty file."""
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def printable(text: str) -> str:
    """Return untrusted text as at most 300 printable characters, with "?" for every other one."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:300])


def checked_name(name: str) -> str:
    """Return the name itself. Raises ValueError for one that is empty, too long or not printable."""
    if not name.isprintable() or not 0 < len(name) <= LONGEST_NAME:
        raise ValueError(f"it holds an array with the name {name[:40]!r}")
    return name


def checked_array(data: bytes | memoryview, dtype: str | np.dtype, shape: object) -> np.ndarray:
    """Return `data` as a read-only array, without a copy. Raises ValueError unless the shape needs every byte."""
    sides = checked_sizes(shape)
    expected = math.prod(sides) * np.dtype(dtype).itemsize
    if expected != len(data):
        raise ValueError(f"an array of shape {sides} and type {dtype} has {expected} bytes, not {len(data)}")
    return np.frombuffer(data, dtype).reshape(sides)


def checked_sizes(values: object) -> tuple[int, ...]:
    """Return a claimed shape, or claimed strides, as a tuple.

    Raises ValueError for anything other than up to 32 integers from 0 to 2^62.
    """
    if not isinstance(values, (tuple, list)) or len(values) > 32:
        raise ValueError("an array's shape is not a short tuple")
    if not all(type(value) is int and 0 <= value < 2**62 for value in values):
        raise ValueError("an array's shape or strides are not sizes")
    return tuple(values)


def dtype_names(
    arrays: Mapping[str, np.ndarray], codes: Mapping[str, str | np.dtype], file_kind: str
) -> dict[str, str]:
    """Return name of an array -> the file format's name of its dtype.

    codes: the format's name of a dtype -> NumPy's code. Raises ReproError for a dtype that the format lacks.
    """
    format_names = {np.dtype(code): name for name, code in codes.items()}
    dtypes = {}
    for name, array in arrays.items():
        dtype = array.dtype.newbyteorder("<")
        if dtype not in format_names:
            raise ReproError(f"{name} holds {array.dtype}, which a {file_kind} file cannot; convert it to float32")
        dtypes[name] = format_names[dtype]
    return dtypes


def raw_bytes(array: np.ndarray) -> memoryview:
    """Return the little-endian bytes of an array in C order, copied only where memory holds them otherwise."""
    flat = np.asarray(array, array.dtype.newbyteorder("<"), order="C").reshape(-1)
    return flat.view(np.uint8).data
