"""NumPy's .npz files: a zip with a .npy file for each array. Arrays are views of the file; objects are refused."""

from __future__ import annotations

import binascii
import io
import struct
import zipfile
from pathlib import Path
from tokenize import TokenError
from typing import cast

import numpy as np
from numpy.lib import format as npy

from repro.arrays import Arrays
from repro.untrusted import checked_array, checked_name, map_file, reading

MAX_HEADER_BYTES = 10_000  # NumPy's own limit for a .npy file


def read(path: Path) -> Arrays:
    """Return the arrays by name. Raises ReproError for damage, for a compressed file, and for arrays of objects."""
    with reading(path, "a .npz file"):
        data = map_file(path)
        arrays: Arrays = {}
        with zipfile.ZipFile(path) as archive:
            remaining = len(data)
            for entry in archive.infolist():
                name = checked_name(entry.filename.removesuffix(".npy"))
                if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
                    raise ValueError("it is compressed; save it with numpy.savez instead of numpy.savez_compressed")
                remaining -= entry.file_size
                if remaining < 0:  # entries that share their bytes would all be read
                    raise ValueError("the zip claims to hold more than the file has")
                if name in arrays:
                    raise ValueError(f"the name {name!r} occurs twice")
                start = entry.header_offset
                name_and_extra = struct.unpack_from("<HH", data, start + 26)
                start += 30 + sum(name_and_extra)
                content = data[start : start + entry.file_size]
                if binascii.crc32(content) != entry.CRC:
                    raise ValueError(f"the checksum of the array {name!r:.80} does not fit")
                arrays[name] = _array(name, content)
        if not arrays:
            raise ValueError("it holds no arrays")
        return arrays


def _array(name: str, content: memoryview) -> np.ndarray:
    """Return the array in a .npy file."""
    header = io.BytesIO(content[:MAX_HEADER_BYTES])
    version = npy.read_magic(header)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"the array {name!r:.80} has version {version} of the .npy format")
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    try:
        shape, is_fortran, dtype = cast("tuple[tuple[int, ...], bool, np.dtype]", read_header(header))
    except (SyntaxError, TokenError) as error:
        raise ValueError(f"the header of the array {name!r:.80} is damaged") from error
    if dtype.kind not in "biuf" or dtype != dtype.newbyteorder("<"):
        raise ValueError(f"the array {name!r:.80} holds {dtype}, not little-endian numbers; save it as float32")
    array = checked_array(content[header.tell() :], dtype, shape[::-1] if is_fortran else shape)
    return array.T if is_fortran else array
