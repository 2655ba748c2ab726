"""MindSpore's .ckpt files, without MindSpore: a message of Protocol Buffers.

Its field 1 is repeated: {1: name, 2: {1: shape, 2: type such as "Float32", 3: bytes}}, in slices for a large array.
The protobuf library is not used, because it would copy the whole file into its objects, needs MindSpore's compiled
description of the message, and stops at 2 GiB.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from repro.arrays import Arrays
from repro.files import replacing
from repro.interface.native_names import NativeNames
from repro.untrusted import BFLOAT16, checked_array, checked_name, dtype_names, map_file, raw_bytes, reading

NAMES = NativeNames(
    {"norm_scale": "gamma", "norm_shift": "beta", "norm_mean": "moving_mean", "norm_var": "moving_variance"}
)
EXTENSIONS = (".ckpt",)

TYPES: dict[str, str | np.dtype] = {
    "Float32": "<f4", "Float16": "<f2", "Float64": "<f8", "Int8": "|i1", "Int16": "<i2", "Int32": "<i4",
    "Int64": "<i8", "UInt8": "|u1", "UInt16": "<u2", "UInt32": "<u4", "UInt64": "<u8", "Bool": "|b1",
    "BFloat16": BFLOAT16,
}  # fmt: skip
VARINT, BYTES = 0, 2  # wire types


def read(path: Path) -> Arrays:
    """Return the arrays in a file of mindspore.save_checkpoint; text entries are left out.

    Raises ReproError for an encrypted or damaged file, and for a type other than plain numbers.
    """
    path = Path(path)
    with reading(path, "a MindSpore .ckpt file"):
        data = map_file(path)
        if data[-17:-10] == b"crc_num":  # save_checkpoint(..., crc_check=True)
            if binascii.crc32(data[:-17]) != int.from_bytes(data[-10:], "big"):
                raise ValueError("its checksum does not fit")
            data = data[:-17]
        arrays: Arrays = {}
        for name, dims, dtype, content in _parameters(data):
            if name in arrays:
                raise ValueError(f"the name {name!r} occurs twice")
            if dtype == "str":
                continue
            if dtype not in TYPES:
                raise ValueError(f"{name} has the type {dtype!r:.40}; save it as Float32")
            scalar = dims == [0] and len(content) == np.dtype(TYPES[dtype]).itemsize  # as older releases wrote them
            arrays[name] = checked_array(content, TYPES[dtype], [] if scalar else dims)
        if not arrays:
            raise ValueError("it holds no arrays")
        return arrays


def _parameters(data: memoryview) -> Iterator[tuple[str, list[int], str, bytes | memoryview]]:
    """Yield name, shape, type and bytes of each parameter, with its slices joined."""
    name, dims, dtype = "", [0], ""
    slices: list[memoryview] = []
    for number, value in _fields(data):
        if number != 1 or not isinstance(value, memoryview):
            raise ValueError("it has fields that no checkpoint has; it is encrypted, or another kind of file")
        parameter = _parameter(value)
        if slices and parameter[0] != name:
            yield name, dims, dtype, slices[0] if len(slices) == 1 else b"".join(slices)
            slices = []
        if slices and parameter[:3] != (name, dims, dtype):
            raise ValueError(f"the slices of {name!r} disagree about its shape or type")
        name, dims, dtype = parameter[:3]
        slices.append(parameter[3])
    if slices:
        yield name, dims, dtype, slices[0] if len(slices) == 1 else b"".join(slices)


def _parameter(data: memoryview) -> tuple[str, list[int], str, memoryview]:
    """Return name, shape, type and bytes of a slice of a parameter."""
    outer = _once(data, (1, 2))
    name = checked_name(str(outer[1], "utf-8"))
    dims: list[int] = []
    rest = []
    for number, value in _fields(outer[2]):
        if number != 1:
            rest.append((number, value))
        elif isinstance(value, int):
            dims.append(value)
        else:  # packed, as newer protobuf languages write repeated numbers
            at = 0
            while at < len(value):
                side, at = _varint(value, at)
                dims.append(side)
    inner = _only(rest, (2, 3))
    return name, dims, str(inner[2], "utf-8"), inner[3]


def _once(data: memoryview, numbers: tuple[int, ...]) -> dict[int, memoryview]:
    """Return the fields of a message as _only does."""
    return _only(list(_fields(data)), numbers)


def _only(fields: list[tuple[int, int | memoryview]], numbers: tuple[int, ...]) -> dict[int, memoryview]:
    """Return field number -> bytes. Raises ValueError unless there are exactly the fields `numbers`, each once."""
    contents = {number: value for number, value in fields if isinstance(value, memoryview)}
    if sorted(number for number, _ in fields) != list(numbers) or len(contents) != len(numbers):
        raise ValueError("a parameter is not made of a name, a shape, a type and bytes")
    return contents


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield number and value of the fields of a message, in order."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        value, at = _varint(data, at)  # the integer itself, or the number of bytes that follow
        if key & 7 == VARINT:
            yield key >> 3, value
        elif key & 7 == BYTES and value <= len(data) - at:
            yield key >> 3, data[at : at + value]
            at += value
        else:
            raise ValueError("it is cut short, encrypted, or not a checkpoint")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """Return an integer, stored in groups of seven bits with the lowest first, and where the next field begins."""
    value = 0
    for shift in range(0, 70, 7):  # at most ten bytes
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("it holds a number of more than 64 bits")


def write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a file for mindspore.load_checkpoint and load_param_into_net.

    Raises ReproError for a dtype that MindSpore lacks, and where `path` cannot be written.
    """
    dtypes = dtype_names(arrays, TYPES, ".ckpt")
    with replacing(path) as temporary, temporary.open("wb") as file:
        for name, array in arrays.items():
            dims = b"".join(_encode(1 << 3 | VARINT) + _encode(side) for side in array.shape)
            content = dims + _prefix(2, len(dtypes[name])) + dtypes[name].encode() + _prefix(3, array.nbytes)
            head = _prefix(1, len(name.encode())) + name.encode() + _prefix(2, len(content) + array.nbytes)
            file.write(_prefix(1, len(head) + len(content) + array.nbytes) + head + content)
            file.write(raw_bytes(array))


def _prefix(number: int, length: int) -> bytes:
    """Return the key of a field and the number of bytes that follow."""
    return _encode(number << 3 | BYTES) + _encode(length)


def _encode(value: int) -> bytes:
    """Return an integer as _varint reads it."""
    groups = bytearray()
    while value > 127:
        groups.append(value & 127 | 128)
        value >>= 7
    groups.append(value)
    return bytes(groups)
