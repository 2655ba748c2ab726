"""PaddlePaddle's .pdparams and .pdopt files, without PaddlePaddle: plain pickles of {name: numpy.ndarray}."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from repro.arrays import Arrays
from repro.files import replacing
from repro.interface.native_names import NativeNames
from repro.untrusted import BFLOAT16, dtype_names, map_file, raw_bytes, reading
from repro.weights.pickled_tree import TreeArrays, arrays_in, literal, pickled
from repro.weights.pickled_values import NUMBERS, PickledArray, value_calls
from repro.weights.unpickle import Calls, unpickle

NAMES = NativeNames({"norm_mean": "_mean", "norm_var": "_variance"}, axes={"linear": (1, 0)})
EXTENSIONS = (".pdparams",)
OPTIMIZER = ".pdopt"
NUMBERED = "StructuredToParameterName@@"  # the key of the table of numbered names in a state dict
# suffix that paddle.optimizer appends to a numbered name, before another number -> the slot
SLOTS = {
    "velocity": "velocity", "momentum": "velocity", "moment1": "moment1", "moment2": "moment2", "mean_square": "square",
    "beta1_pow_acc": "beta1_power", "beta2_pow_acc": "beta2_power",
}  # fmt: skip
SLOT = re.compile(rf"(.+)_({'|'.join(SLOTS)})_\d+")
Labels = list[tuple[object, object]]


def read(path: Path) -> Arrays:
    """Return the arrays in a file of paddle.save: a state dict, or a dictionary or list around one ("0/conv.weight").

    The arrays of an optimizer's file x.pdopt are called "optimizer/SLOT/NAME", with the names in the file x.pdparams
    next to it. Objects of other classes are left out, see repro.weights.pickled_tree. Raises ReproError for damage, for
    arrays above 1 GiB in slices, and for the optimizer of another model.
    """
    path = Path(path)
    optimizer = path.suffix == OPTIMIZER
    with reading(path, f"a {OPTIMIZER if optimizer else EXTENSIONS[0]} file"):
        labels: Labels = []
        tree = _tree(path, labels)
        if optimizer:  # as if both had been saved in one file
            if type(tree) is not dict:
                raise ValueError("it is not a dictionary of arrays")
            if not path.with_suffix(EXTENSIONS[0]).is_file():
                raise ValueError(f"its names are in {path.with_suffix(EXTENSIONS[0]).name}, which is not next to it")
            tree = {"model": _tree(path.with_suffix(EXTENSIONS[0]), labels), "optimizer": tree}
        read_arrays = arrays_in(tree)
        arrays: Arrays = read_arrays
        slots = _slots(arrays, _parameters(tree, arrays, labels))
        if optimizer:
            _check_optimizer(arrays, slots)
            arrays = {name: array for name, array in arrays.items() if name.startswith("optimizer/")}
        arrays = {slots[name][0] if name in slots else name: array for name, array in arrays.items()}
        # PaddlePaddle has no uint16, and stores bfloat16 as that
        arrays = {name: array.view(BFLOAT16) if array.dtype == np.uint16 else array for name, array in arrays.items()}
        return TreeArrays(arrays, read_arrays.left_out, read_arrays.unread)


def _tree(path: Path, labels: Labels) -> object:
    """Return the dictionary in a file, or the list or tuple of dictionaries. labels: see _calls."""
    program = map_file(path)
    tree = unpickle(program, _calls(len(program), labels))
    if type(tree) is dict and "UnpackBigParamInfor@@" in tree:
        raise ValueError("its large arrays are cut into slices; save it again with paddle.save(..., protocol=4)")
    return tree


def _parameters(tree: object, arrays: Arrays, labels: Labels) -> dict[object, str]:
    """Return PaddlePaddle's numbered name of a parameter ("conv2d_0.w_0") -> its name in `arrays`.

    A state dict has a table of them; inside another dictionary each array comes with its numbered name.
    """
    paths = {id(array): name for name, array in arrays.items()}
    tensors = [(label, id(value.array)) for label, value in labels if isinstance(value, PickledArray)]
    names: dict[object, str] = {label: paths[key] for label, key in tensors if key in paths}
    for prefix, state_dict in (("", tree), ("model/", tree.get("model") if type(tree) is dict else None)):
        table = state_dict.get(NUMBERED) if type(state_dict) is dict else None
        for name, number in table.items() if type(table) is dict else ():
            if isinstance(number, str) and f"{prefix}{name}" in arrays:
                names[number] = f"{prefix}{name}"
    return names


def _slots(arrays: Arrays, parameters: dict[object, str]) -> dict[str, tuple[str, str]]:
    """Return name of an optimizer's array ("conv2d_0.w_0_velocity_0") -> its name here, and the name of the parameter.

    The name here is "optimizer/velocity/stem.conv.weight".
    """
    slots: dict[str, tuple[str, str]] = {}
    taken = set(arrays)
    for name in arrays:
        match = SLOT.fullmatch(name.rpartition("/")[2])
        parameter = parameters.get(match[1]) if match else None
        if match and parameter:
            slot = f"optimizer/{SLOTS[match[2]]}/{parameter.rpartition('/')[2]}"
            if slot not in taken:
                slots[name] = slot, parameter
                taken.add(slot)
    return slots


def _check_optimizer(arrays: Arrays, slots: dict[str, tuple[str, str]]) -> None:
    """Raise ValueError where an optimizer's file belongs to another model."""
    names = {name: name.partition("/")[2] for name in arrays if name.startswith("optimizer/")}
    known = [name for name, leaf in names.items() if SLOT.fullmatch(leaf)]
    if known and not slots:
        raise ValueError(f"{names[known[0]]!r:.80} belongs to no parameter of the model next to it")
    for name, (slot, parameter) in slots.items():
        if arrays[name].shape != arrays[parameter].shape and "_power/" not in slot:
            raise ValueError(
                f"{names[name]!r:.80} has shape {arrays[name].shape}, and its parameter in the model next to it "
                f"{arrays[parameter].shape}"
            )


def _calls(size: int, labels: Labels) -> Calls:
    """Return the calls that a .pdparams file needs. labels: receives Paddle's name of each tensor in a dictionary."""

    def named(pair: tuple) -> object:
        """Return a tensor inside an outer dictionary, which paddle.save stores as (name, array)."""
        label, value = pair
        if isinstance(label, str):
            labels.append((label, value))
        return value

    return {**value_calls(size), "builtins.tuple": named, "__builtin__.tuple": named}


def write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a file for paddle.load and set_state_dict; names such as "model/conv.weight" make nested dictionaries.

    The pickle is written instruction by instruction, because NumPy 2 would name a module that NumPy 1 lacks.
    Raises ReproError for a dtype other than plain numbers, and where `path` cannot be written.
    """
    codes: dict[str, str | np.dtype] = {code: f"<{code}" for code in NUMBERS if code != "u2"}
    dtypes = dtype_names(arrays, codes | {"u2": BFLOAT16}, ".pdparams")
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(b"\x80\x04")  # protocol 4
        for piece in pickled(
            arrays, lambda name: [_header(dtypes[name], arrays[name]), raw_bytes(arrays[name]), b"tb"]
        ):
            file.write(piece)


def _header(code: str, array: np.ndarray) -> bytes:
    """Return the instructions for an array up to its bytes, which the number of bytes precedes.

    In a pickle, "c" names a global, "(" ... "t" is a tuple, "R" a call and "b" gives an object its state: here
    (1, shape, dtype, False for C order, bytes).
    """
    empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n" + literal((0,)) + b"C\x01btR"
    dtype = b"cnumpy\ndtype\n" + literal((f"<{code}", False, True)) + b"R"
    return (
        empty
        + b"("
        + literal(1)
        + literal(array.shape)
        + dtype
        + literal(False)
        + struct.pack("<BQ", 0x8E, array.nbytes)
    )
