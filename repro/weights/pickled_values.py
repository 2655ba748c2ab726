"""The harmless values of a pickle that are more than text and numbers: dictionaries and NumPy arrays."""

from __future__ import annotations

import numpy as np

from repro.untrusted import checked_array
from repro.weights.unpickle import Buildable, Calls, Global, Placeholder, set_items

NUMBERS = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")


class PickledDtype(Buildable):
    """The equivalent of numpy.dtype. `code` is None for a dtype that is not one of plain little-endian numbers."""

    def __init__(self, code: object, *_: object) -> None:
        self.title = f"{code:.40}" if isinstance(code, str) else "an unknown type"
        letters = code.lstrip("<=|") if isinstance(code, str) else ""
        self.code = f"<{letters}" if letters in NUMBERS else None

    def build(self, state: object) -> None:
        """Check the state. Raises ValueError for another byte order than little-endian, and for fields."""
        if self.code is None:
            return
        if not isinstance(state, tuple) or len(state) < 5 or state[1] not in ("<", "=", "|"):
            raise ValueError("the numbers of an array are not little-endian")
        if any(field is not None for field in state[2:5]):
            raise ValueError("an array has fields")


class PickledArray(Buildable):
    """The equivalent of numpy.ndarray. `array` is None until the pickle gives numbers, and for an array of objects."""

    array: np.ndarray | None = None
    title = "numpy.ndarray without numbers"

    def build(self, state: object) -> None:
        """Set the array from its state: version, shape, dtype, order and bytes."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise ValueError("an array's state is not a tuple of five")
        _, shape, dtype, is_fortran, data = state
        self.fill(shape, dtype, data, is_fortran=bool(is_fortran))

    def fill(self, shape: object, dtype: object, data: object, *, is_fortran: bool) -> None:
        """Set the array. Raises ValueError for a shape that does not need exactly the bytes in `data`."""
        if not isinstance(dtype, PickledDtype) or not isinstance(shape, tuple):
            raise ValueError("an array has no dtype or no shape")
        if dtype.code is None:
            self.title = f"numpy.ndarray of {dtype.title}"
            return
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise ValueError("an array is made of something other than bytes")
        content = memoryview(data).toreadonly()
        sides = shape[::-1] if is_fortran else shape
        array = checked_array(content, dtype.code, sides)
        self.array = array.T if is_fortran else array


def value_calls(size: int) -> Calls:
    """Return the calls of a pickle that make dictionaries and NumPy arrays. size: that of the file in bytes."""
    remaining = size

    def charge(amount: int) -> None:
        """Count copied bytes or items: a file that copies one value again and again would fill the memory."""
        nonlocal remaining
        if amount > remaining:
            raise ValueError("it copies more data than it has")
        remaining -= amount

    def encode(text: object, encoding: object) -> bytes:
        """Return the bytes that protocol 2 stores as text."""
        if not isinstance(text, str) or encoding != "latin1":
            raise ValueError("it stores bytes in an unknown encoding")
        charge(len(text))
        return text.encode("latin1")

    def dictionary(items: object = None, *_: object) -> dict:
        """Return the dictionary with these items; Python 2 lists them, and later versions set them after the call."""
        target: dict = {}
        if type(items) is dict:
            charge(len(items))
            target |= items
        elif type(items) is list and all(type(item) in (list, tuple) and len(item) == 2 for item in items):
            charge(len(items))
            set_items(target, ((item[0], item[1]) for item in items))
        return target

    def reconstruct(kind: object, *_: object) -> object:
        if kind == Global("numpy.ndarray"):
            return PickledArray()
        return Placeholder(kind.name if isinstance(kind, Global) else "numpy.ndarray")

    def from_buffer(buffer: object, dtype: object, shape: object, order: object, *_: object) -> PickledArray:
        """Return the array in a buffer, as protocol 5 stores it."""
        array = PickledArray()
        array.fill(shape, dtype, buffer, is_fortran=order == "F")
        return array

    return {
        "collections.OrderedDict": dictionary,
        "collections.defaultdict": lambda *_: {},
        "collections.Counter": dictionary,  # inside schedulers
        "_codecs.encode": encode,
        "numpy.dtype": PickledDtype,
        **dict.fromkeys([f"numpy.{core}.multiarray._reconstruct" for core in ("core", "_core")], reconstruct),
        **dict.fromkeys([f"numpy.{core}.numeric._frombuffer" for core in ("core", "_core")], from_buffer),
    }
