"""The canonical file: safetensors, with where the weights came from in its metadata.

The library checks what is read. The arrays are views of the file, and are written one by one, because the library's
NumPy side copies all of them at once, both ways, and lacks bfloat16.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from repro.arrays import Arrays
from repro.errors import ReproError
from repro.files import replacing
from repro.untrusted import BFLOAT16, checked_array, dtype_names, map_file, raw_bytes

TYPES: dict[str, str | np.dtype] = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": BFLOAT16, "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip


def save(path: str | Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> None:
    """Writes arrays and text metadata, whole or not at all."""
    words = dtype_names(arrays, TYPES, "safetensors")
    # the widest numbers first, as the library has it: each array then starts at a multiple of its number's size
    order = sorted(arrays, key=lambda name: -arrays[name].itemsize)
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name in order:
        start, end = end, end + arrays[name].nbytes
        header[name] = {"dtype": words[name], "shape": arrays[name].shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in order:
            file.write(raw_bytes(arrays[name]))


def load(path: str | Path) -> tuple[Arrays, dict[str, str]]:
    """Arrays, which are read-only, and metadata. Raises ReproError for a missing, cut short or damaged file."""
    path = Path(path)
    if not path.is_file():
        raise ReproError(f"no such file: {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
        data = map_file(path)
        start = 8 + struct.unpack_from("<Q", data)[0]
        header = json.loads(bytes(data[8:start]), object_pairs_hook=_once)
        header.pop("__metadata__", None)
        arrays = {}
        for name, entry in header.items():
            first, last = entry["data_offsets"]
            arrays[name] = checked_array(data[start + first : start + last], TYPES[entry["dtype"]], entry["shape"])
        return arrays, metadata
    except (SafetensorError, OSError, TypeError, ValueError, LookupError, RecursionError, struct.error) as error:
        raise ReproError(
            f"{path} is not a whole safetensors file ({error}); is it another format, or cut short?"
        ) from error


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object; the library and json would take the last of two entries of one name."""
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a name is there twice")
    return dict(pairs)
