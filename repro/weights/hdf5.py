"""Untrusted HDF5 files: h5py finds the datasets, and the arrays are views of the file's own bytes.

A claimed shape allocates nothing, and links or storage outside the file are never followed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import h5py
import numpy as np

from repro.untrusted import BFLOAT16, checked_array

DTYPES: dict[str, str | np.dtype] = {  # without byte order -> NumPy's code
    f"{kind}{size}": f"<{kind}{size}" for kind in "fiu" for size in (1, 2, 4, 8)[kind == "f" :]
}
OPAQUE = np.dtype("V2")  # what h5py writes for bfloat16, the only type of two bytes that it does not know


def check_hdf5(data: memoryview) -> None:
    """Check the header and the heaps of strings.

    Raises ValueError for a file of another format, and for a heap in which the HDF5 library would loop forever.
    """
    if data[:8] != b"\x89HDF\r\n\x1a\n":
        raise ValueError("it is neither an HDF5 file nor a zip of one")
    widths = data[13:15] if data[8] < 2 else data[9:11]
    if widths != b"\x08\x08":
        raise ValueError("its addresses and sizes do not have the usual 8 bytes")
    for heap in re.finditer(rb"GCOL\x01\x00\x00\x00", data):
        at, end = heap.end() + 8, heap.start() + _number(data, heap.end())
        while at + 16 <= end:  # an object: index (0: free space), references, size, content
            size = _number(data, at + 8)
            step = 16 + -(-size // 8) * 8 if any(data[at : at + 2]) else size
            if not 0 < step <= end - at:
                raise ValueError("a heap of strings is damaged")
            at += step


def _number(data: memoryview, at: int) -> int:
    """Return the 8-byte integer at an offset."""
    return int.from_bytes(data[at : at + 8], "little")


def has_hard_link(group: h5py.Group, name: str) -> bool:
    """Return whether the group itself holds `name`: h5py's own look-up would follow a link into another file."""
    key = name.encode()
    return group.id.links.exists(key) and group.id.links.get_info(key).type == h5py.h5l.TYPE_HARD


def datasets(root: h5py.Group) -> Iterator[tuple[list[str], h5py.Group, h5py.Dataset]]:
    """Yield path, group and dataset of every dataset below `root`, except those of an optimizer.

    Raises ValueError for a soft or external link, and for a cycle.
    """
    groups: list[tuple[list[str], h5py.Group]] = [([], root)]
    seen = {h5py.h5o.get_info(root.id).addr}
    while groups:
        path, group = groups.pop()
        for name in group:
            if not isinstance(name, str):
                raise ValueError(f"it holds an object with the name {name[:40]!r}")
            inner = [*path, name]
            if not has_hard_link(group, name):
                raise ValueError(f"{'/'.join(inner)!r:.80} is a link, which Keras never writes")
            if not path and name in ("optimizer", "optimizer_weights"):
                continue
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:  # groups can contain each other
                raise ValueError(f"{'/'.join(inner)!r:.80} has two names")
            seen.add(address)
            if isinstance(item, h5py.Dataset):
                yield inner, group, item
            elif isinstance(item, h5py.Group):
                groups.append((inner, item))


def stored_array(name: str, dataset: h5py.Dataset, data: memoryview) -> np.ndarray:
    """Return the values of a dataset as a view of the file's bytes `data`.

    Raises ValueError for compressed, chunked or external storage, and for a dtype other than plain numbers.
    """
    properties, dtype, shape = dataset.id.get_create_plist(), dataset.dtype, dataset.shape
    if properties.get_layout() != h5py.h5d.CONTIGUOUS or properties.get_external_count():
        raise ValueError(f"{name} is compressed, chunked or stored outside the file; save the model again with Keras")
    if (dtype.str[1:] not in DTYPES and dtype != OPAQUE) or h5py.h5t.py_create(dtype) != dataset.id.get_type():
        raise ValueError(f"{name} does not hold plain numbers; save it as float32")
    offset = dataset.id.get_offset()  # None where the file holds no values
    start, count = offset or 0, math.prod(shape or ()) * dtype.itemsize
    if shape is None or (offset is None and count):
        raise ValueError(f"{name} has a dtype and a shape but no values")
    if dtype == OPAQUE:
        return checked_array(data[start : start + count], BFLOAT16, shape)
    return np.asarray(checked_array(data[start : start + count], dtype, shape), dtype.newbyteorder("="))
