"""PaddlePaddle's .pdparams files without PaddlePaddle: a plain pickle of {name: numpy.ndarray}."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from repro.files import replacing
from repro.weights.native import NativeNames
from repro.weights.unpickle import (
    NUMBERS,
    Arrays,
    Calls,
    Global,
    PickledArray,
    PickledDtype,
    arrays_in,
    empty_dict,
    literal,
    pickled,
    unpickle,
)
from repro.weights.untrusted import BFLOAT16, mapped, raw, reading, type_words

NAMES = NativeNames({"norm_mean": "_mean", "norm_var": "_variance"}, axes={"linear": (1, 0)})
EXTENSIONS = (".pdparams",)
# what paddle.optimizer appends to a parameter's name -> the slot
SLOTS = {
    "_velocity_0": "velocity", "_moment1_0": "moment1", "_moment2_0": "moment2", "_mean_square_0": "square",
    "_momentum_0": "velocity",
}  # fmt: skip


def read(path: Path) -> Arrays:
    """The arrays of what paddle.save wrote, a state dict or a dictionary around one ("model/conv.weight").

    Raises ReproError for damage, for a pickle that does more than hold arrays, and for arrays above 1 GiB in slices.
    """
    path = Path(path)
    with reading(path, "a .pdparams file"):
        program = mapped(path)
        labels: list[tuple[object, object]] = []
        tree = unpickle(program, _calls(len(program), labels))
        if isinstance(tree, dict) and "UnpackBigParamInfor@@" in tree:
            raise ValueError("its large arrays are cut into slices; save it again with paddle.save(..., protocol=4)")
        arrays = arrays_in(tree)
        arrays = _with_slots(arrays, labels)
        # PaddlePaddle keeps bfloat16 under the name of a type that it lacks itself
        return {name: array.view(BFLOAT16) if array.dtype == np.uint16 else array for name, array in arrays.items()}


def _with_slots(arrays: Arrays, labels: list[tuple[object, object]]) -> Arrays:
    """An optimizer's arrays, which are called after parameters that PaddlePaddle numbers ("conv2d_0.w_0_velocity_0"),
    as "optimizer/velocity/stem.conv.weight": a checkpoint keeps that number beside each array of the model."""
    paths = {id(array): name for name, array in arrays.items()}
    tensors = [(label, id(value.array)) for label, value in labels if isinstance(value, PickledArray)]
    models = {label: paths[key] for label, key in tensors if key in paths}
    found: Arrays = {}
    for name, array in arrays.items():
        leaf = name.rpartition("/")[2]
        ending = next((ending for ending in SLOTS if leaf.endswith(ending)), None)
        parameter = models.get(leaf.removesuffix(ending)) if ending else None
        slot = f"optimizer/{SLOTS[ending]}/{parameter.rpartition('/')[2]}" if ending and parameter else name
        found[slot if slot not in arrays and slot not in found else name] = array
    return found


def _calls(size: int, labels: list[tuple[object, object]]) -> Calls:
    """What a .pdparams file may call. labels: takes in what paddle.save calls each tensor of an inner dictionary."""
    left = size

    def encode(text: str, encoding: str) -> bytes:
        """Bytes as protocol 2 spells them. A file that encodes one text again and again would fill the memory."""
        nonlocal left
        if not isinstance(text, str) or encoding != "latin1" or len(text) > left:
            raise ValueError("it spells bytes in an unknown or endless way")
        left -= len(text)
        return text.encode("latin1")

    def array(kind: object, *_: object) -> PickledArray:
        if kind != Global("numpy.ndarray"):
            raise ValueError("it holds a special kind of array")
        return PickledArray()

    def named(pair: tuple) -> object:
        """A tensor inside an outer dictionary, which paddle.save keeps as (name, array)."""
        label, value = pair
        if isinstance(label, str):
            labels.append((label, value))
        return value

    return {
        "numpy.core.multiarray._reconstruct": array,
        "numpy._core.multiarray._reconstruct": array,  # from NumPy 2 on
        "numpy.dtype": PickledDtype,
        "_codecs.encode": encode,
        "builtins.tuple": named,
        "__builtin__.tuple": named,
        "collections.OrderedDict": empty_dict,
    }


def write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """A file that paddle.load turns into a dict of tensors for set_state_dict, or into one of dicts where names
    are "model/conv.weight".

    Put together by hand, because NumPy 2 would name a module that a PaddlePaddle beside NumPy 1 may not have.
    Raises ReproError for a type that NumPy's plain numbers do not cover, and where `path` cannot be written.
    """
    codes: dict[str, str | np.dtype] = {code: f"<{code}" for code in NUMBERS if code != "u2"}
    words = type_words(arrays, codes | {"u2": BFLOAT16}, ".pdparams")
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(b"\x80\x04")  # protocol 4
        for piece in pickled(arrays, lambda name: [_header(words[name], arrays[name]), raw(arrays[name]), b"tb"]):
            file.write(piece)


def _header(code: str, array: np.ndarray) -> bytes:
    """The instructions for an array up to its bytes, whose number comes last.

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
