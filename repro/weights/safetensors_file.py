"""The canonical file format: safetensors, whose metadata record where the weights come from.

The safetensors library checks files that are read, but its NumPy interface copies all arrays at once, both ways, and
lacks bfloat16. Therefore arrays are read here as views of the file, and written one after the other.
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
from repro.untrusted import BFLOAT16, checked_array, dtype_names, map_file, printable, raw_bytes

DTYPES: dict[str, str | np.dtype] = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": BFLOAT16, "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip


def save(path: str | Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> None:
    """Write arrays and metadata, whole or not at all.

    Raises ReproError for a dtype that the format lacks, and where `path` cannot be written.
    """
    dtypes = dtype_names(arrays, DTYPES, "safetensors")
    # the widest dtypes first, as the library does: each array then starts at a multiple of its itemsize
    order = sorted(arrays, key=lambda name: -arrays[name].itemsize)
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name in order:
        start, end = end, end + arrays[name].nbytes
        header[name] = {"dtype": dtypes[name], "shape": arrays[name].shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in order:
            file.write(raw_bytes(arrays[name]))


def load(path: str | Path) -> tuple[Arrays, dict[str, str]]:
    """Return read-only arrays and the metadata. Raises ReproError for a missing, truncated or damaged file."""
    path = Path(path)
    if not path.is_file():
        raise ReproError(f"no such file: {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
        data = map_file(path)
        start = 8 + struct.unpack_from("<Q", data)[0]
        header = json.loads(bytes(data[8:start]), object_pairs_hook=_unique_keys)
        header.pop("__metadata__", None)
        arrays = {}
        for name, entry in header.items():
            if entry["dtype"] not in DTYPES:
                raise ReproError(f"{path} holds {entry['dtype']} in {printable(name)}; save it again as float32")
            begin, end = entry["data_offsets"]
            arrays[name] = checked_array(data[start + begin : start + end], DTYPES[entry["dtype"]], entry["shape"])
        return arrays, metadata
    except (SafetensorError, OSError, TypeError, ValueError, LookupError, RecursionError, struct.error) as error:
        raise ReproError(
            f"{path} is not a complete safetensors file ({error}); is it truncated, or of another format?"
        ) from error


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return a JSON object with these items. Raises ValueError for a repeated key, which json itself accepts."""
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a name occurs twice")
    return dict(pairs)
