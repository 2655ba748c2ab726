"""PyTorch's .pth files, without PyTorch: a zip of a pickle, data.pkl, and an entry of raw numbers per storage.

repro.weights.torch_legacy reads files from before PyTorch 1.6, among them many published ones.
"""

from __future__ import annotations

import binascii
import math
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from repro.arrays import Arrays
from repro.files import replacing
from repro.interface.native_names import NativeNames
from repro.untrusted import BFLOAT16, checked_array, checked_sizes, dtype_names, map_file, raw_bytes, reading
from repro.weights.pickled_tree import arrays_in, literal, pickled
from repro.weights.pickled_values import value_calls
from repro.weights.torch_legacy import MAGIC, is_legacy, unpickle_legacy, unreadable_storage
from repro.weights.unpickle import Calls, Global, Placeholder, unpickle

NAMES = NativeNames({})
EXTENSIONS = (".pth", ".pt")

STORAGES: dict[str, str | np.dtype] = {
    "FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "BFloat16Storage": BFLOAT16,
    "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "|i1", "ByteStorage": "|u1",
    "BoolStorage": "|b1", "storage.UntypedStorage": "|u1",
}  # fmt: skip
ALIGNMENT = 64  # bytes; torch starts each entry at a multiple, so that it can map the file into memory


def read(path: Path) -> Arrays:
    """Return the tensors in a file of torch.save (a state dict, a dictionary around one, a module) or torch.jit.save.

    A state dict in a dictionary has names such as "state_dict/conv.weight". Objects of other classes are left out, see
    repro.weights.pickled_tree. Raises ReproError for damage, and where there are no tensors.
    """
    path = Path(path)
    with reading(path, "a PyTorch file"):
        data = map_file(path)
        if is_legacy(data):
            return arrays_in(unpickle_legacy(data, REBUILDS, STORAGES))
        if data[:1] == b"\x80":  # pickle.dump
            return arrays_in(unpickle(data, {**value_calls(len(data)), **REBUILDS, **_storage_calls(len(data))}))
        if not zipfile.is_zipfile(path):
            if data[257:262] == b"ustar":
                raise ValueError(
                    "it is a tar archive: unpack it, or, if PyTorch wrote it in 2016, save it again there with "
                    "torch.save(torch.load(path, weights_only=False), 'new.pth')"
                )
            raise ValueError("it is not a file of torch.save, or cut short")
        with zipfile.ZipFile(path) as archive:
            return _Reader(archive, data).arrays()


class _Reader:
    """An open file and the storages read so far."""

    def __init__(self, archive: zipfile.ZipFile, data: memoryview) -> None:
        entries = archive.infolist()
        names = {entry.filename for entry in entries}
        if len(names) < len(entries):
            raise ValueError("the zip holds two entries with the same name")
        if sum(entry.compress_size for entry in entries) > len(data):
            raise ValueError("the zip claims to hold more than the file has")
        pickles = [name for name in names if name.rpartition("/")[2] == "data.pkl"]
        if len(pickles) != 1:
            raise ValueError("the zip has no data.pkl, so that torch.save did not write it")
        self.archive, self.data, self.root, self.names = archive, data, pickles[0].removesuffix("data.pkl"), names
        self.storages: dict[str, np.ndarray] = {}

    def arrays(self) -> Arrays:
        if self.root + "byteorder" in self.names and self._entry("byteorder") != b"little":
            raise ValueError("it was written on a big-endian machine")
        program = bytes(self._entry("data.pkl"))
        tree = unpickle(program, {**value_calls(len(program)), **REBUILDS}, self._storage)
        try:
            return arrays_in(tree)
        except ValueError as error:
            if self.root + "constants.pkl" not in self.names:
                raise
            advice = "save the state dict of the module that it was made from"
            raise ValueError(f"{error}; if torch.jit.freeze made it, its weights are nameless: {advice}") from error

    def _entry(self, name: str) -> memoryview:
        """Return the bytes of an entry, as a view of the file."""
        entry = self.archive.getinfo(self.root + name)
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 or entry.compress_size != entry.file_size:
            raise ValueError("the zip is compressed or encrypted; unpack it, and pack it again with zip -0 -r")
        start = entry.header_offset
        if self.data[start : start + 4] != b"PK\3\4":
            raise ValueError(f"the entry {entry.filename!r:.80} of the zip is not where it should be")
        lengths = struct.unpack_from("<HH", self.data, start + 26)  # lengths of the entry's name and of extra fields
        content = self.data[start + 30 + sum(lengths) :][: entry.file_size]
        if binascii.crc32(content) != entry.CRC:
            raise ValueError(f"the checksum of the entry {entry.filename!r:.80} does not fit")
        return content

    def _storage(self, reference: object) -> np.ndarray:
        if not isinstance(reference, tuple) or len(reference) != 5 or not isinstance(reference[1], Global):
            raise ValueError("the pickle refers to something that is not a storage")
        _, kind, key, _, count = reference
        name = kind.name.removeprefix("torch.")
        if name not in STORAGES:
            raise unreadable_storage(name)
        if not isinstance(key, str):
            raise ValueError("the pickle refers to a storage without a name")
        if key not in self.storages:
            self.storages[key] = checked_array(self._entry(f"data/{key}"), STORAGES[name], (count,))
        if self.storages[key].dtype != np.dtype(STORAGES[name]):
            raise ValueError(f"the storage {key!r:.40} is used as two types")
        return self.storages[key]


def _view(
    storage: object, offset: object, shape: object, strides: object, _gradient: object = None, _hooks: object = None,
    metadata: object = None,
) -> np.ndarray:  # fmt: skip
    """Return a tensor as a view of its storage; offset and strides count elements."""
    if not isinstance(storage, np.ndarray):
        raise ValueError("a tensor has no storage")
    if type(metadata) is dict and metadata.get("neg"):  # as the imaginary part of a conjugate
        raise ValueError("the storage of a tensor holds its negative; save the result of .resolve_neg()")
    sides, steps, (start,) = checked_sizes(shape), checked_sizes(strides), checked_sizes((offset,))
    count = math.prod(sides)
    end = start + 1 + sum((side - 1) * step for side, step in zip(sides, steps, strict=True)) if count else start
    if end <= len(storage) < count:
        raise ValueError(f"a tensor of shape {sides} repeats {len(storage)} values; save the result of .contiguous()")
    if end > len(storage):
        raise ValueError(f"a tensor of shape {sides} and strides {steps} is larger than its storage")
    size = storage.itemsize
    return np.lib.stride_tricks.as_strided(storage[start:], sides, [step * size for step in steps], writeable=False)


def _storage_calls(size: int) -> Calls:
    """Return the call in a file of pickle.dump for a storage, which is a file in the old format inside the pickle.

    size: that of the file in bytes, which limits how often a storage is read.
    """
    remaining = size

    def storage(data: object) -> object:
        nonlocal remaining
        if not isinstance(data, (bytes, memoryview)) or data[: len(MAGIC)] != MAGIC or len(data) > remaining:
            raise ValueError("a storage is not a file in PyTorch's old format")
        remaining -= len(data)
        return unpickle_legacy(memoryview(data), REBUILDS, STORAGES)  # without this call, so that it cannot nest

    return {"torch.storage._load_from_bytes": storage}


def _typed_view(
    storage: object, offset: object, shape: object, strides: object, gradient: object, hooks: object, dtype: object,
    metadata: object = None,
) -> np.ndarray:  # fmt: skip
    """Return a tensor as a view of a storage of bytes, which torch uses for the dtypes that it has had since 2.3."""
    name = dtype.name.removeprefix("torch.") if isinstance(dtype, Global) else ""
    if name not in UNTYPED:
        raise ValueError(f"it holds a tensor of torch.{name:.40}; convert the model with .float() and save it again")
    if not isinstance(storage, np.ndarray) or storage.nbytes % np.dtype(UNTYPED[name]).itemsize:
        raise ValueError("a tensor has no storage of its dtype")
    return _view(storage.view(UNTYPED[name]), offset, shape, strides, gradient, hooks, metadata)


def _subclass(function: object, kind: object, arguments: object, *_: object) -> object:
    """Return the plain tensor of a subclass, or of a tensor with attributes."""
    if not isinstance(function, Global) or function.name not in REBUILDS or not isinstance(arguments, tuple):
        return Placeholder(function.name if isinstance(function, Global) else "a tensor of an unknown kind", (kind,))
    if function.name in SUBCLASSES:
        raise ValueError("a subclass of tensors is made from another one")
    return REBUILDS[function.name](*arguments)


UNTYPED = {"uint16": "<u2", "uint32": "<u4", "uint64": "<u8"}
SUBCLASSES = (
    "torch._tensor._rebuild_from_type_v2",
    "torch._tensor._rebuild_from_type",
    "torch.tensor._rebuild_from_type",
)
REBUILDS: Calls = {
    "torch.Size": lambda sides: sides,
    "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
    "torch._utils._rebuild_parameter_with_state": lambda tensor, *_: tensor,
    "torch._utils._rebuild_tensor": _view,  # before 0.4
    "torch._utils._rebuild_tensor_v2": _view,
    "torch._utils._rebuild_tensor_v3": _typed_view,
    **dict.fromkeys(SUBCLASSES, _subclass),
}


def write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a file for torch.load(path, weights_only=True) and load_state_dict(strict=True).

    Names such as "model/conv.weight" make nested dictionaries. Because a plain dictionary has no version of batch
    normalisation, torch does not miss `num_batches_tracked`. Raises ReproError for a dtype that torch lacks, and where
    `path` cannot be written.
    """
    storages = dtype_names(arrays, {name: code for name, code in STORAGES.items() if "." not in name}, ".pth")
    keys = {name: str(key) for key, name in enumerate(arrays)}

    def tensor(name: str) -> list[bytes]:
        return [_tensor(storages[name], keys[name], arrays[name])]

    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        _add(archive, "data.pkl", b"\x80\x02" + b"".join(pickled(arrays, tensor)))  # protocol 2
        _add(archive, "byteorder", b"little")
        for name, key in keys.items():
            _add(archive, f"data/{key}", raw_bytes(arrays[name]))
        _add(archive, "version", b"3\n")


def _tensor(storage: str, key: str, array: np.ndarray) -> bytes:
    """Return the instructions for `_rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict())`.

    In a pickle, "c" names a global, "(" ... "t" is a tuple, "R" a call and "Q" a reference to an entry of the zip.
    """
    strides = tuple(math.prod(array.shape[axis + 1 :]) for axis in range(array.ndim))
    reference = b"(" + literal("storage") + f"ctorch\n{storage}\n".encode()
    reference += literal(key) + literal("cpu") + literal(array.size) + b"tQ"
    arguments = reference + literal(0) + literal(array.shape) + literal(strides) + literal(False)
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"ccollections\nOrderedDict\n)RtR"


def _add(archive: zipfile.ZipFile, name: str, data: bytes | memoryview) -> None:
    """Add an entry whose bytes start at a multiple of ALIGNMENT, and whose time stamp is always the same."""
    entry = zipfile.ZipInfo(f"archive/{name}")
    assert archive.fp is not None
    padding = -(archive.fp.tell() + 30 + len(entry.filename) + 4) % ALIGNMENT  # 30: a zip entry's fixed header
    entry.extra = struct.pack("<2sH", b"FB", padding) + b"Z" * padding
    archive.writestr(entry, data)
