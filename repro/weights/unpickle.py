"""Pickles read as data: a machine for the instructions of a pickle that imports, calls and executes nothing.

The standard pickle.Unpickler with a strict find_class would not run code from a file either, but a few bytes can make
it allocate gigabytes (memo indices), crash the interpreter (hashes of deep tuples) or change the objects that
find_class returns (BUILD). Here a global is only its name, the standard pickletools decodes the instructions, and an
object of a class that is not on the reader's list of calls becomes a Placeholder: the name of the class, and its state.
"""

from __future__ import annotations

import pickletools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from repro.untrusted import LONGEST_NAME

Calls = Mapping[str, Callable[..., object]]  # "module.name" -> the function that replaces it

LONG = 1 << 16  # bytes; no line of a pickle, such as a global's name, is longer
MAX_ARGUMENTS = 32  # limit for a call; otherwise few bytes could pass a long tuple again and again
# functions of the standard library that make an object of the class in their first argument
MAKERS = (
    "copyreg._reconstructor", "copy_reg._reconstructor", "copyreg.__newobj__", "copyreg.__newobj_ex__",
    "builtins.getattr", "__builtin__.getattr",
)  # fmt: skip
_MARK = object()


@dataclass(frozen=True)
class Global:
    """The name of a class or function in a pickle. Nothing is imported."""

    name: str


@dataclass(eq=False, repr=False, slots=True)
class Placeholder:
    """An inert object: the name of its class or function, and what the pickle gives it, as data.

    items: the items of a subclass of dict. elements: those of a list or a set.
    """

    name: str
    arguments: tuple = ()
    state: object = None
    items: dict | None = None
    elements: list | None = None


class OtherKey:
    """The place of a dictionary key that is neither text nor a 64-bit integer, and is never hashed."""

    __slots__ = ()


class Buildable(ABC):
    """Base of the values that a pickle completes with the instruction BUILD."""

    @abstractmethod
    def build(self, state: object) -> None:
        """Take the state. Raises ValueError for a state of the wrong kind."""


def set_items(target: dict, items: Iterable[tuple[object, object]]) -> None:
    """Set items of a dictionary. Raises ValueError for a name that it already has."""
    for key, value in items:
        if type(key) is not str and not (type(key) is int and -(2**63) <= key < 2**63):
            target[OtherKey()] = value
        elif key in target:
            raise ValueError(f"the name {key!r:.80} occurs twice")
        else:
            target[key] = value


class _Window:
    """A file; long pieces of it are read without a copy."""

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


def _instructions(window: _Window) -> Iterator[tuple[pickletools.OpcodeInfo, Any]]:
    """Yield the instructions and their arguments. Raises ValueError, which says so, where the file is cut short."""
    try:
        for opcode, argument, _ in pickletools.genops(cast(Any, window)):
            yield opcode, argument
    except ValueError as error:
        if window.at < len(window.data):
            raise
        raise ValueError(f"{error}: it is cut short; download it again, and compare its size") from error


class _Machine:
    """The stack machine whose program is a pickle."""

    def __init__(self, calls: Calls, persistent: Callable[[object], object] | None) -> None:
        self.calls, self.persistent = calls, persistent
        self.stack: list = []
        self.memo: dict[int, object] = {}

    def run(self, window: _Window) -> object:
        for opcode, argument in _instructions(window):
            if opcode.name not in _STEPS:
                raise ValueError(f"it holds the pickle instruction {opcode.name}, which no checkpoint needs")
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
        target = self.stack[-1]
        if type(target) is Placeholder:
            target.elements = [] if target.elements is None else target.elements
            target.elements.extend(items)
        elif type(target) is list:
            target.extend(items)
        else:
            raise ValueError("the pickle appends to something that is not a list")

    def set_items(self, items: list) -> None:
        target = self.stack[-1]
        if type(target) is Placeholder:
            target.items = {} if target.items is None else target.items
            target = target.items
        if type(target) is not dict:
            raise ValueError("the pickle sets items of something that is not a dictionary")
        set_items(target, zip(items[::2], items[1::2], strict=True))

    def named_dict(self, items: list) -> None:
        self.push({})
        self.set_items(items)

    def named_global(self, module: object, name: object) -> None:
        if type(module) is not str or type(name) is not str or len(module) + len(name) > LONGEST_NAME:
            raise ValueError(f"the pickle names a class or function by something other than {LONGEST_NAME} characters")
        self.push(Global(f"{module}.{name}"))

    def reduce(self, function: object, arguments: object) -> None:
        if type(arguments) is not tuple:
            raise ValueError("the arguments of a call are not a tuple")
        if type(function) is Global and function.name in self.calls:
            if len(arguments) > MAX_ARGUMENTS:
                raise ValueError(f"{function.name} is called with {len(arguments)} arguments")
            self.push(self.calls[function.name](*arguments))
        else:
            self.new_object(function, arguments)

    def new_object(self, function: object, arguments: object) -> None:
        if type(function) is Global and function.name in MAKERS and type(arguments) is tuple and arguments:
            function = arguments[0] if type(arguments[0]) in (Global, Placeholder) else function
        if type(function) not in (Global, Placeholder) or type(arguments) is not tuple:
            raise ValueError("the pickle calls something that is not a function")
        self.push(Placeholder(cast("Global | Placeholder", function).name, arguments))

    def instance(self, items: list) -> None:
        if not items:
            raise ValueError("the pickle makes an object without a class")
        self.new_object(items[0], tuple(items[1:]))

    def build(self) -> None:
        target, state = self.last(2)
        if isinstance(target, Buildable):
            target.build(state)
        elif type(target) is Placeholder:
            target.state = state
        elif type(target) not in (dict, np.ndarray):  # their attributes, such as torch's _metadata, are not arrays
            raise ValueError("the pickle sets the state of something that has none")
        self.push(target)

    def persistent_id(self) -> None:
        if self.persistent is None:
            raise ValueError("the pickle refers to something outside the file")
        self.push(self.persistent(self.stack.pop()))


_PUSHED = (
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
    "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8",
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
    "EMPTY_SET": lambda machine, _: machine.push(Placeholder("builtins.set")),
    "ADDITEMS": lambda machine, _: machine.append(machine.since_mark()),
    "FROZENSET": lambda machine, _: machine.push(Placeholder("builtins.frozenset", (machine.since_mark(),))),
    "DICT": lambda machine, _: machine.named_dict(machine.since_mark()),
    "LIST": lambda machine, _: machine.push(machine.since_mark()),
    "DUP": lambda machine, _: machine.push(machine.stack[-1]),
    "POP": lambda machine, _: machine.stack.pop(),
    "POP_MARK": lambda machine, _: machine.since_mark(),
    "GLOBAL": lambda machine, name: machine.named_global(*name.split(" ", 1)),
    "STACK_GLOBAL": lambda machine, _: machine.named_global(*machine.last(2)),
    "REDUCE": lambda machine, _: machine.reduce(*machine.last(2)),
    "NEWOBJ": lambda machine, _: machine.new_object(*machine.last(2)),
    "NEWOBJ_EX": lambda machine, _: machine.new_object(*machine.last(3)[:2]),
    "INST": lambda machine, name: machine.instance(
        [Global(name.replace(" ", ".", 1)[:LONGEST_NAME]), *machine.since_mark()]
    ),
    "OBJ": lambda machine, _: machine.instance(machine.since_mark()),
    "BUILD": lambda machine, _: machine.build(),
    "BINPERSID": lambda machine, _: machine.persistent_id(),
}


def unpickle(program: bytes | memoryview, calls: Calls, persistent: Callable[[object], object] | None = None) -> object:
    """Return the value of a pickle as dictionaries, lists, tuples, text, numbers, placeholders and results of `calls`.

    calls: the only functions that the pickle can call, by name; persistent: resolves references to data outside the
    pickle. Raises one of repro.untrusted.PARSE_ERRORS for a damaged pickle.
    """
    return unpickle_at(memoryview(program), 0, calls, persistent)[0]


def unpickle_at(
    data: memoryview, at: int, calls: Calls, persistent: Callable[[object], object] | None = None
) -> tuple[object, int]:
    """Return the value of a pickle that begins at the position `at` of a file, as unpickle does, and where it ends."""
    window = _Window(data, at)
    return _Machine(calls, persistent).run(window), window.at
