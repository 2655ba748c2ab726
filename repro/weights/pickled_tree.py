"""Nested dictionaries of arrays in a pickle, to read and to write, and whole modules to read."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import cast

import numpy as np

from repro.arrays import Arrays
from repro.untrusted import checked_name, printable
from repro.weights.pickled_values import PickledArray
from repro.weights.unpickle import Global, OtherKey, Placeholder

# limit for the entries of modules that occur several times; otherwise a small file could hold 2^60 names
MAX_REPEATS = 20_000
MAX_LEFT_OUT = 8  # shown in a message
OBJECTS = (np.ndarray, PickledArray, Placeholder)  # in a list, which gives them no names
SETS = ("builtins.set", "__builtin__.set", "builtins.frozenset", "__builtin__.frozenset")
MODULE_GROUPS = ("_parameters", "_buffers", "_modules")  # attributes of a torch.nn.Module
SCRIPTED = "__torch__."  # the prefix of the classes in a TorchScript archive
MANGLED = re.compile(r"___torch_mangle_\d+\.")  # what tracing adds to the module of a class
TITLES = {
    "numpy.core.multiarray.scalar": "NumPy scalar",
    "numpy._core.multiarray.scalar": "NumPy scalar",
}
CLASS = "CLASS"
# functions that make a tensor which is not read -> what it is, with CLASS for its class, and how to mend the file
TENSORS = {
    "torch._utils._rebuild_meta_tensor_no_storage": "tensor of the device meta, which has no values",
    "torch._utils._rebuild_sparse_tensor": "sparse tensor; save the result of .to_dense()",
    "torch._utils._rebuild_nested_tensor": "nested tensor; save the tensors in it by name",
    "torch._utils._rebuild_wrapper_subclass": f"{CLASS}; save an ordinary tensor, as .full_tensor() of a DTensor gives",
}


class TreeArrays(Arrays):
    """The arrays of a nested dictionary by name.

    left_out: the objects next to them, as text, or "". unread: group -> a sentence about the first tensor in it that
    is not read.
    """

    def __init__(self, arrays: Arrays, left_out: str, unread: Mapping[str, str]) -> None:
        super().__init__(arrays)
        self.left_out, self.unread = left_out, unread


def left_out_line(arrays: Arrays) -> str:
    """Return the line "left out: args (argparse.Namespace), ..." about the arrays of a file, or ""."""
    return f"left out: {arrays.left_out}" if isinstance(arrays, TreeArrays) and arrays.left_out else ""


def arrays_in(tree: object) -> TreeArrays:
    """Return every array inside nested dictionaries as "outer/inner/name", and those of modules under dotted names.

    Dictionaries and modules in a list have their index as their name, as the states of Lightning's optimizers.
    A module inside a dictionary gives names such as "model/conv.weight". Objects of other classes are left out, except
    that attributes of the outermost one count as the items of a dictionary, as in fastai's Learner.
    The pairs of `list(model.named_parameters())` count as a dictionary.
    Raises ValueError where there is no array with a name, and for two arrays with the same name.
    """
    if isinstance(tree, (np.ndarray, PickledArray)):
        raise ValueError("it is one array without a name; save model.state_dict()")
    if type(tree) not in (dict, list, tuple, Placeholder):
        raise ValueError("it is not a dictionary of arrays")
    if type(tree) in (list, tuple):
        members = cast("list", tree)
        if members and all(isinstance(member, (np.ndarray, PickledArray)) for member in members):
            raise ValueError("it is a list of arrays without their names; save model.state_dict()")
        if members and all(_is_named(member) for member in members):
            if len({name for name, _ in members}) < len(members):
                raise ValueError("it is a list of names and arrays in which a name occurs twice")
            tree = dict(members)
    return _Walk().arrays(tree)


def _is_named(member: object) -> bool:
    """Return whether a member of a list is a pair of a name and an array."""
    return (
        type(member) is tuple
        and len(member) == 2
        and type(member[0]) is str
        and isinstance(member[1], (np.ndarray, PickledArray))
    )


class _Walk:
    """One walk through a tree."""

    def __init__(self) -> None:
        self.by_path: Arrays = {}
        self.left_out: list[str] = []
        self.unread: dict[str, str] = {}
        self.left_out_count = 0
        self.seen: set[int] = set()  # containers can contain each other
        self.repeats = 0

    def arrays(self, tree: object) -> TreeArrays:
        pending: list[tuple[str, object, bool]] = [("", tree, False)]  # name, value, whether a module holds it
        while pending:
            path, node, in_module = pending.pop()
            array = node.array if isinstance(node, PickledArray) else node
            if isinstance(array, np.ndarray):
                if path in self.by_path:
                    raise ValueError(f"the name {path!r} occurs twice")
                self.by_path[path] = array
            elif type(node) is Placeholder and (entries := _module_entries(node)) is not None:
                self.count_module(path, node, len(entries), in_module=in_module)
                prefix = f"{path}{'.' if in_module else '/'}" if path else ""
                pending += [(checked_name(f"{prefix}{key}"), child, True) for key, child in reversed(entries)]
            elif in_module:
                if node is not None:  # a layer without a bias has None in its place
                    self.leave_out(path, _title(node), node)
            else:
                prefix = f"{path}/" if path else ""
                items = reversed(self.dictionary_items(path, node))
                pending += [(checked_name(f"{prefix}{key}"), child, False) for key, child in items]
        left_out = ", ".join(self.left_out)
        if self.left_out_count > len(self.left_out):
            left_out += f" and {self.left_out_count - len(self.left_out)} more"
        if not self.by_path:
            raise ValueError(f"it holds no arrays{f', only {left_out}' if left_out else ''}")
        return TreeArrays(self.by_path, left_out, self.unread)

    def count_module(self, path: str, module: Placeholder, entries: int, *, in_module: bool) -> None:
        """Limit how often modules occur again, and mention the outermost ones. Raises ValueError above the limit."""
        if id(module) in self.seen:
            self.repeats += 1 + entries
            if self.repeats > MAX_REPEATS:
                raise ValueError("its modules contain each other too many times")
        self.seen.add(id(module))
        if not in_module:
            name = MANGLED.sub("", module.name.removeprefix(SCRIPTED))
            self.leave_out(f"the code of {path}" if path else "code", name)

    def dictionary_items(self, path: str, node: object) -> list[tuple[str | int, object]]:
        """Return the items of a dictionary, the dictionaries in a list, or []; mention any other object as left out."""
        if isinstance(node, (PickledArray, Global)):
            self.leave_out(path, _title(node))
        elif type(node) is Placeholder and node.items is None:
            if node.name not in SETS:
                self.leave_out(path, _title(node), node)
            return [] if path else _attributes(node)
        elif type(node) in (list, tuple):
            if id(node) in self.seen:
                return []
            self.seen.add(id(node))
            members = cast("list", node)
            first = {id(item): index for index, item in reversed(list(enumerate(members)))}
            nested: list[tuple[str | int, object]] = [
                (n, item) for n, item in enumerate(members) if first[id(item)] == n and _is_nested(item)
            ]
            objects = [n for n, item in enumerate(members) if isinstance(item, OBJECTS) and not _is_nested(item)]
            if objects and not nested:
                self.leave_out(path, type(node).__name__)
            for index in objects if nested else ():
                self.leave_out(f"{path}/{index}" if path else str(index), _title(members[index]))
            return nested
        else:
            items = node.items if type(node) is Placeholder else node
            if type(items) is dict and id(items) not in self.seen:
                self.seen.add(id(items))
                if any(type(key) is OtherKey for key in items):
                    self.leave_out(f"{path}/..." if path else "...", "keys that are not names")
                return [(key, value) for key, value in items.items() if type(key) is not OtherKey]
        return []

    def leave_out(self, path: str, title: str, node: object = None) -> None:
        """Mention an object that is not read."""
        if isinstance(node, Placeholder) and node.name in TENSORS:
            self.unread.setdefault(path.rpartition("/")[0], printable(f"{path} in the file is a {title}"))
        self.left_out_count += 1
        if len(self.left_out) < MAX_LEFT_OUT:
            self.left_out.append(printable(f"{path or 'the object'} ({title})"))


def _title(node: object) -> str:
    """Return the name of an object that is left out."""
    if isinstance(node, PickledArray):
        return node.title
    name = node.name if isinstance(node, (Global, Placeholder)) else type(node).__name__
    if name in TENSORS:
        kind = node.arguments[0] if isinstance(node, Placeholder) and node.arguments else None
        return TENSORS[name].replace(CLASS, kind.name if isinstance(kind, Global) else "tensor")
    return TITLES.get(name, name)


def _is_nested(item: object) -> bool:
    """Return whether a member of a list is a dictionary or a module."""
    if type(item) is Placeholder:
        return item.items is not None or _module_state(item) is not None
    return type(item) is dict


def _attributes(node: Placeholder) -> list[tuple[str | int, object]]:
    """Return the attributes of an object that is no module, and the modules that it was made from.

    A bound method, as in torch.save(model.state_dict), is made from one.
    """
    state = node.state if type(node.state) is dict else {}
    named = [(key, value) for key, value in state.items() if type(key) is str]
    return [*named, *((index, item) for index, item in enumerate(node.arguments) if _is_nested(item))]


def _module_entries(module: Placeholder) -> list[tuple[str, object]] | None:
    """Return the parameters, buffers and submodules of a torch.nn.Module or a TorchScript module in their order.

    Non-persistent buffers are not in a state dict, and not here. None: it is not a module.
    """
    state = _module_state(module)
    if state is None:
        return None
    if module.name.startswith(SCRIPTED):
        return [(key, value) for key, value in state.items() if type(key) is str and _is_scripted(value)]
    groups = [state[group] for group in MODULE_GROUPS]
    hidden = state.get("_non_persistent_buffers_set")
    hidden_names = _set_names(hidden) if type(hidden) is Placeholder else set()
    return [
        (key, value)
        for group, items in zip(MODULE_GROUPS, groups, strict=True)
        for key, value in items.items()
        if type(key) is str and not (group == "_buffers" and key in hidden_names)
    ]


def _module_state(module: Placeholder) -> dict | None:
    """Return the attributes of a module, or None for another object."""
    # a module made by torch.fx passes its state as an argument, and a class with __slots__ has a pair of states
    states = [module.state, *(module.state[:2] if type(module.state) is tuple else ()), *module.arguments[:2]]
    state = next((state for state in states if type(state) is dict), None)
    if state is None or module.name.startswith(SCRIPTED):
        return state
    return state if all(type(state.get(group)) is dict for group in MODULE_GROUPS) else None


def _is_scripted(value: object) -> bool:
    """Return whether an attribute of a TorchScript module is a tensor or a module."""
    return isinstance(value, np.ndarray) or (type(value) is Placeholder and value.name.startswith(SCRIPTED))


def _set_names(value: Placeholder) -> set[str]:
    """Return the texts in a set."""
    members = value.elements or (value.arguments[0] if value.arguments else ())
    return {name for name in members if type(name) is str} if type(members) in (list, tuple) else set()


def pickled(names: Iterable[str], leaf: Callable[[str], Iterable[bytes | memoryview]]) -> Iterator[bytes | memoryview]:
    """Yield the instructions for a dictionary, in pieces. It is the inverse of arrays_in for nested dictionaries.

    leaf: name -> the instructions that push its value.
    """
    tree: dict = {}
    for name in names:
        *outer, last = name.split("/")
        node = tree
        for group in outer:
            node = node.setdefault(group, {})
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
    """Return the instructions that push a plain value, without the beginning and the end of a pickle."""
    return pickle.dumps(value, protocol=2)[2:-1]
