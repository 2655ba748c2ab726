"""Pickles read as data: a machine for the instructions that a dictionary of arrays needs, and for no others.

The standard pickle.Unpickler with a strict find_class would run no foreign code either, but a few bytes can make it
allocate gigabytes (memo indices), crash the interpreter (hashes of deep tuples) or change the objects that find_class
returns (BUILD). Here a global is only its name, and the standard pickletools does the decoding.
"""

from __future__ import annotations

import pickle
import pickletools
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from repro.arrays import Arrays
from repro.untrusted import checked_array, checked_name

Calls = Mapping[str, Callable[..., object]]  # "module.name" -> what stands in for it

NUMBERS = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")
LONG = 1 << 16  # bytes; no line of a pickle, such as a global's name, is longer
_MARK = object()


@dataclass(frozen=True)
class Global:
    """A class or function that a pickle names; nothing is imported."""

    name: str


def empty_dict(*_: object) -> dict:
    """Stands in for OrderedDict and its kin, which pickles fill after the call; `dict` itself would hash arguments."""
    return {}


class PickledDtype:
    """Stands in for numpy.dtype."""

    def __init__(self, code: object, *_: object) -> None:
        letters = code.lstrip("<=|") if isinstance(code, str) else ""
        if letters not in NUMBERS:
            raise ValueError(f"an array of type {reprlib.repr(code)} is not one of plain little-endian numbers")
        self.code = f"<{letters}"

    def build(self, state: object) -> None:
        """Check the state: the byte order must be little-endian, and there must be no fields."""
        if not isinstance(state, tuple) or len(state) < 5 or state[1] not in ("<", "=", "|"):
            raise ValueError("an array's type is not one of little-endian numbers")
        if any(part is not None for part in state[2:5]):
            raise ValueError("an array has fields")


class PickledArray:
    """Stands in for numpy.ndarray; `array` is there once the pickle has given type, shape and bytes."""

    array: np.ndarray | None = None

    def build(self, state: object) -> None:
        """Set the array from its state: version, shape, type, order and bytes."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise ValueError("an array's state is not a tuple of five")
        _, shape, dtype, fortran, data = state
        if (
            not isinstance(dtype, PickledDtype)
            or not isinstance(data, (bytes, memoryview))
            or not isinstance(shape, tuple)
        ):
            raise ValueError("an array is made of something else than numbers")
        self.array = (
            checked_array(data, dtype.code, shape[::-1]).T if fortran else checked_array(data, dtype.code, shape)
        )


class _Window:
    """A file of which long pieces are read without being copied."""

    def __init__(self, data: memoryview, at: int) -> None:
        self.data, self.at = data, at

    def read(self, count: int) -> bytes | memoryview:
        piece = self.data[self.at : self.at + count]
        self.at += len(piece)
        return piece if count > LONG else bytes(piece)

    def readline(self) -> bytes:
        line = bytes(self.data[self.at : self.at + LONG]).partition(b"\n")
        self.at += len(line[0]) + len(line[1])
        return line[0] + line[1]

    def tell(self) -> int:
        return self.at


class _Machine:
    """The stack machine that a pickle is a program for."""

    def __init__(self, calls: Calls, persistent: Callable[[object], object] | None) -> None:
        self.calls, self.persistent = calls, persistent
        self.stack: list = []
        self.memo: dict[int, object] = {}

    def run(self, window: _Window) -> object:
        for opcode, argument, _ in pickletools.genops(cast(Any, window)):
            if opcode.name not in _STEPS:
                raise ValueError(f"it holds the pickle instruction {opcode.name}, which no dictionary of arrays needs")
            _STEPS[opcode.name](self, argument)
        return self.stack.pop()

    def push(self, value: object) -> None:
        self.stack.append(value)

    def since_mark(self) -> list:
        items = []
        while (item := self.stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    def last(self, count: int) -> list:
        if len(self.stack) < count:
            raise ValueError("the pickle takes more from its stack than it put there")
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def put(self, index: int | None) -> None:
        self.memo[len(self.memo) if index is None else index] = self.stack[-1]

    def append(self, items: list) -> None:
        if type(self.stack[-1]) is not list:
            raise ValueError("the pickle appends to something that is no list")
        self.stack[-1].extend(items)

    def set_items(self, items: list) -> None:
        target = self.stack[-1]
        if type(target) is not dict:
            raise ValueError("the pickle sets items of something that is no dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) not in (str, int):
                raise ValueError("a dictionary has keys that are no names")
            if key in target:
                raise ValueError(f"the name {key!r:.80} is there twice")
            target[key] = value

    def stack_global(self) -> None:
        module, name = self.last(2)
        self.push(Global(f"{module:s}.{name:s}"))

    def reduce(self) -> None:
        function, arguments = self.last(2)
        name = function.name if isinstance(function, Global) else "something that is no function"
        if name not in self.calls:
            raise ValueError(
                f"it asks to call {name}, which no plain dictionary of arrays needs; save the state dict alone"
            )
        if type(arguments) is not tuple:
            raise ValueError(f"the arguments of {name} are no tuple")
        self.push(self.calls[name](*arguments))

    def build(self) -> None:
        target, state = self.last(2)
        if isinstance(target, (PickledArray, PickledDtype)):
            target.build(state)
        elif type(target) is not dict:  # a dictionary's attributes, such as torch's _metadata, are no arrays
            raise ValueError("the pickle sets the state of something that is no array")
        self.push(target)

    def persistent_id(self) -> None:
        if self.persistent is None:
            raise ValueError("the pickle refers to something outside the file")
        self.push(self.persistent(self.stack.pop()))


_PUSHED = (
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "UNICODE", "SHORT_BINSTRING", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
    "SHORT_BINBYTES", "BINBYTES", "BINBYTES8",
)  # fmt: skip
_STEPS: dict[str, Callable[[_Machine, Any], object]] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), lambda machine, _: None),
    **dict.fromkeys(_PUSHED, _Machine.push),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _Machine.put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda machine, index: machine.push(machine.memo[index])),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "MARK": lambda machine, _: machine.push(_MARK),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.since_mark())),
    "TUPLE1": lambda machine, _: machine.push(tuple(machine.last(1))),
    "TUPLE2": lambda machine, _: machine.push(tuple(machine.last(2))),
    "TUPLE3": lambda machine, _: machine.push(tuple(machine.last(3))),
    "APPEND": lambda machine, _: machine.append(machine.last(1)),
    "APPENDS": lambda machine, _: machine.append(machine.since_mark()),
    "SETITEM": lambda machine, _: machine.set_items(machine.last(2)),
    "SETITEMS": lambda machine, _: machine.set_items(machine.since_mark()),
    "GLOBAL": lambda machine, name: machine.push(Global(name.replace(" ", ".", 1))),
    "STACK_GLOBAL": lambda machine, _: machine.stack_global(),
    "REDUCE": lambda machine, _: machine.reduce(),
    "BUILD": lambda machine, _: machine.build(),
    "BINPERSID": lambda machine, _: machine.persistent_id(),
}


def unpickle(program: bytes | memoryview, calls: Calls, persistent: Callable[[object], object] | None = None) -> object:
    """The value of a pickle made of dictionaries, lists, tuples, text, numbers and what `calls` builds.

    calls: the only functions that the pickle may call, by name; persistent: what resolves its outside references.
    Raises ValueError, TypeError, LookupError or MemoryError for anything else.
    """
    return unpickle_at(memoryview(program), 0, calls, persistent)[0]


def unpickle_at(
    data: memoryview, at: int, calls: Calls, persistent: Callable[[object], object] | None = None
) -> tuple[object, int]:
    """Return the value of a pickle that begins at the position `at` of a file, as unpickle does, and where it ends."""
    window = _Window(data, at)
    return _Machine(calls, persistent).run(window), window.at


def arrays_in(tree: object) -> Arrays:
    """Every array inside nested dictionaries, as "outer/inner/name"; whatever is no array is left out.

    Raises ValueError where there is none, or two of one name.
    """
    if type(tree) is not dict:
        raise ValueError("it is no dictionary of arrays")
    found: Arrays = {}
    seen: set[int] = set()  # dictionaries may hold each other
    pending: list[tuple[str, object]] = [("", tree)]
    while pending:
        path, node = pending.pop()
        if type(node) is dict and id(node) not in seen:
            seen.add(id(node))
            inner = [(checked_name(f"{path}/{key}" if path else str(key)), value) for key, value in node.items()]
            pending.extend(reversed(inner))
        array = node.array if isinstance(node, PickledArray) else node
        if isinstance(node, PickledArray) and array is None:
            raise ValueError(f"the array {path!r} has no numbers")
        if isinstance(array, np.ndarray):
            if path in found:
                raise ValueError(f"the name {path!r} is there twice")
            found[path] = array
    if not found:
        raise ValueError("it holds no arrays")
    return found


def pickled(names: Iterable[str], leaf: Callable[[str], Iterable[bytes | memoryview]]) -> Iterator[bytes | memoryview]:
    """The instructions for a dictionary, piece by piece: the other way round from arrays_in, "outer/inner/name" makes
    nested ones. leaf: name -> the instructions that push its value."""
    tree: dict = {}
    for name in names:
        *outer, last = name.split("/")
        node = tree
        for part in outer:
            node = node.setdefault(part, {})
        node[last] = name

    def instructions(node: dict) -> Iterator[bytes | memoryview]:
        yield b"}("  # an empty dictionary, mark
        for key, value in node.items():
            yield literal(key)
            yield from instructions(value) if isinstance(value, dict) else leaf(value)
        yield b"u"  # set items

    yield from instructions(tree)
    yield b"."


def literal(value: object) -> bytes:
    """The instructions that push a plain value: the middle of a pickle, for files that are put together by hand."""
    return pickle.dumps(value, protocol=2)[2:-1]
