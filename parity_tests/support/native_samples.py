"""Native files for the tests of their readers: valid files, and the pieces of hostile ones."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np

from repro.arrays import Arrays
from repro.interface.discovery import SHIPPED, native_weights
from repro.specs import Weight

BACKENDS = list(SHIPPED)
EXTENSION = {name: native_weights(name).EXTENSIONS[0] for name in BACKENDS}
WEIGHTS = {
    "0.weight": Weight((4, 3, 3, 3), "conv"),
    "1.weight": Weight((4,), "norm_scale"),
    "1.bias": Weight((4,), "norm_shift"),
    "1.running_mean": Weight((4,), "norm_mean"),
    "1.running_var": Weight((4,), "norm_var"),
    "3.weight": Weight((4, 4), "linear"),  # square: its shape does not show whether it is transposed
    "3.bias": Weight((4,), "bias"),
}


def weights(dtype: str = "float32") -> Arrays:
    """Return random canonical weights for WEIGHTS."""
    rng = np.random.default_rng(3)
    return {name: rng.uniform(0.5, 1.5, weight.shape).astype(dtype) for name, weight in WEIGHTS.items()}


def native(backend: str, dtype: str = "float32") -> Arrays:
    """Return the same weights under a backend's native names."""
    return native_weights(backend).NAMES.to_native(weights(dtype), WEIGHTS)


def same(left: Arrays, right: Arrays) -> bool:
    """Return whether names, shapes, dtypes and all bits are equal."""

    def bits(arrays: Arrays) -> dict[str, tuple]:
        return {name: (array.shape, array.dtype.name, array.tobytes()) for name, array in arrays.items()}

    return bits(left) == bits(right)


def written(backend: str, folder: Path, dtype: str = "float32") -> Path:
    """Write the weights as a native file, and return its path."""
    path = folder / f"file{EXTENSION[backend]}"
    native_weights(backend).write(path, native(backend, dtype))
    return path


def torch_file(program: bytes, entries: dict[str, bytes] | None = None, compression: int = zipfile.ZIP_STORED) -> bytes:
    """Return a .pth file with this pickle and these further entries."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in {"a/data.pkl": program, "a/byteorder": b"little", **(entries or {})}.items():
            archive.writestr(name, data)
    return file.getvalue()


def tensor(storage: bytes, count: int, offset: int, shape: tuple, strides: tuple, *, key: str = "0") -> bytes:
    """Return a pickle of {"w": tensor}. storage: the name of a class of torch."""

    def plain(value: object) -> bytes:
        return pickle.dumps(value, 2)[2:-1]

    reference = (
        b"(" + plain("storage") + b"ctorch\n" + storage + b"\n" + plain(key) + plain("cpu") + plain(count) + b"tQ"
    )
    arguments = reference + plain(offset) + plain(shape) + plain(strides) + b"\x89}"
    return b"\x80\x02}" + plain("w") + b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tRs."


def paddle_array(dtype: object, shape: tuple, data: object, state: object = None) -> bytes:
    """Return a pickle of {"w": NumPy array}, as in a .pdparams file."""

    def plain(value: object) -> bytes:
        return pickle.dumps(value, 3)[2:-1]

    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + plain((0,)) + plain(b"b") + b"\x87R"
    kind = b"cnumpy\ndtype\n" + plain((dtype, False, True)) + b"R" + (plain(state) + b"b" if state else b"")
    return b"\x80\x03}" + plain("w") + array + b"(K\x01" + plain(shape) + kind + b"\x89" + plain(data) + b"tbs."


def field(number: int, content: bytes | int) -> bytes:
    """Return a field of a Protocol Buffers message."""

    def varint(value: int) -> bytes:
        groups = []
        while value > 127:
            groups.append(value & 127 | 128)
            value >>= 7
        return bytes([*groups, value])

    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def parameter(name: bytes, dims: list[int], kind: bytes, data: bytes) -> bytes:
    """Return a parameter of a .ckpt file."""
    return field(1, field(1, name) + field(2, b"".join(field(1, d) for d in dims) + field(2, kind) + field(3, data)))


FOUR = struct.pack("<4f", 1, 2, 3, 4)
GOOD_TENSOR = (b"FloatStorage", 4, 0, (2, 2), (2, 1))
GOOD_ARRAY = ("f4", (2, 2), FOUR)
