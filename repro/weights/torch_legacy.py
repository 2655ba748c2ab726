"""PyTorch's format from before 1.6, read without PyTorch.

The file is a sequence of pickles (a magic number, a protocol number, information about the system, the saved object
and the list of its storages' keys) and then, for each key, the number of elements (int64) and the elements. The object
refers to storages by persistent ids, which name the type that the size of an element depends on.

The pickles are read by repro.weights.unpickle, which imports and executes nothing. Arrays are views of the file, so
that a claimed size allocates nothing: a size that the file does not bear out is an error.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Mapping
from typing import cast

import numpy as np

from repro.arrays import Arrays
from repro.untrusted import checked_array, checked_sizes
from repro.weights.pickled_values import value_calls
from repro.weights.unpickle import Calls, Global, unpickle_at

MAGIC_NUMBER, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
MAGIC = pickle.dumps(MAGIC_NUMBER, 2)  # the first bytes of such a file, unless it has another pickle_protocol
StorageTypes = Mapping[str, str | np.dtype]


def is_legacy(data: memoryview) -> bool:
    """Return whether a file begins with the magic number, pickled by protocol 2 or a later one."""
    return data[:1] == MAGIC[:1] and MAGIC[2:] in (bytes(data[2 : len(MAGIC)]), bytes(data[11 : 9 + len(MAGIC)]))


def unpickle_legacy(data: memoryview, rebuilds: Calls, types: StorageTypes) -> object:
    """Return the object in the file, with NumPy arrays for its storages.

    rebuilds: the functions that make a tensor from a storage; types: the name of a storage's class -> the dtype of its
    elements. Raises one of repro.untrusted.PARSE_ERRORS for a file that is damaged, cut short or big-endian.
    """
    _, at = unpickle_at(data, 0, {})
    protocol, at = unpickle_at(data, at, {})
    if protocol != PROTOCOL:
        raise ValueError("its protocol number is not that of PyTorch's format from before 1.6")
    system, start = unpickle_at(data, at, {})
    if type(system) is not dict or system.get("little_endian") is not True:
        raise ValueError("it was written on a big-endian machine; save it again on a little-endian one")
    # The storages follow the object, so that it is read twice: first for their types, then with their elements.
    claims: dict[str, tuple[np.dtype, int]] = {}

    def claim(reference: object) -> object:
        if (container := _container(reference)) is not None:
            return container
        key, dtype, count, _ = _storage_reference(reference, types)
        if claims.setdefault(key, (dtype, count)) != (dtype, count):
            raise ValueError(f"the storage {key!r:.40} is used with two types or sizes")
        return None

    no_tensors: Calls = dict.fromkeys(rebuilds, lambda *_: {})
    _, at = unpickle_at(data, start, {**value_calls(len(data)), **no_tensors}, claim)
    keys, at = unpickle_at(data, at, {})
    storages = _storages(data, at, keys, claims)

    def storage(reference: object) -> object:
        if (container := _container(reference)) is not None:
            return container
        key, _, _, view = _storage_reference(reference, types)
        if view is None:
            return storages[key]
        offset, count = checked_sizes(view[1:])
        if offset + count > len(storages[key]):
            raise ValueError(f"a view of the storage {key!r:.40} is larger than that")
        return storages[key][offset : offset + count]

    return unpickle_at(data, start, {**value_calls(len(data)), **rebuilds}, storage)[0]


def _container(reference: object) -> Global | None:
    """Return the class in ("module", class, source file, source code), with which torch.save warned of changed code."""
    is_container = isinstance(reference, tuple) and len(reference) == 4 and reference[0] == "module"
    container = cast("tuple", reference)[1] if is_container else None
    return container if isinstance(container, Global) else None


def _storage_reference(reference: object, types: StorageTypes) -> tuple[str, np.dtype, int, tuple | None]:
    """Return key, type, number of elements and view (key, offset, size) of ("storage", class, key, place, size, view).

    The first releases wrote views of a storage that way, and releases from 0.4 on write None.
    """
    if not isinstance(reference, tuple) or len(reference) not in (5, 6) or reference[0] != "storage":
        raise ValueError("the pickle refers to something that is not a storage")
    _, kind, key, _, size, view = (*reference, None)[:6]
    name = kind.name.removeprefix("torch.") if isinstance(kind, Global) else ""
    if name not in types:
        raise unreadable_storage(name)
    if not isinstance(key, str):
        raise ValueError("the pickle refers to a storage without a name")
    if view is not None and (not isinstance(view, tuple) or len(view) != 3):
        raise ValueError(f"the view of the storage {key!r:.40} is not a key, an offset and a size")
    (count,) = checked_sizes((size,))
    return key, np.dtype(types[name]), count, view


def unreadable_storage(name: str) -> ValueError:
    """Return the error for a storage of another type than those that are read. name: that of its class in torch."""
    if name.startswith("Q"):
        return ValueError(f"it holds a torch.{name:.40}; save the model before its quantisation")
    return ValueError(f"it holds a torch.{name:.40}; convert the model with .float() and save it again")


def _storages(data: memoryview, at: int, keys: object, claims: Mapping[str, tuple[np.dtype, int]]) -> Arrays:
    """Return the elements of each storage; the first one begins at the position `at` of the file."""
    if type(keys) is not list or not all(isinstance(key, str) for key in keys):
        raise ValueError("its list of storages is damaged")
    if len(keys) != len(claims) or set(keys) != claims.keys():
        raise ValueError("its list of storages does not fit its tensors")
    storages = {}
    for key in keys:
        dtype, claimed = claims[key]
        if len(data) - at < 8:
            raise ValueError("it is cut short: the size of a storage is missing")
        (count,) = struct.unpack_from("<q", data, at)
        if count != claimed:
            raise ValueError(f"the storage {key!r:.40} has {count} elements, but its tensors claim {claimed}")
        end = at + 8 + count * dtype.itemsize
        if end > len(data):
            raise ValueError(f"it is cut short: {end - len(data)} bytes of a storage are missing")
        storages[key] = checked_array(data[at + 8 : end], dtype, (count,))
        at = end
    return storages
