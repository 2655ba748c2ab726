"""No harm from a hostile or broken file of a framework: always one clear line, and nothing executed or allocated."""

from __future__ import annotations

import os
import pickle
import re
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from parity_tests.support.native_samples import (
    BACKENDS,
    EXTENSION,
    FOUR,
    GOOD_ARRAY,
    GOOD_TENSOR,
    field,
    paddle_array,
    parameter,
    tensor,
    torch_file,
    written,
)
from repro.errors import ReproError
from repro.interface.discovery import native_weights


class Call:
    """An object that pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.called = function, arguments

    def __reduce__(self):
        return self.called


EXECUTING = {
    "os.system": pickle.dumps({"w": Call(os.system, "touch PWNED")}, 2),
    "eval": pickle.dumps({"w": Call(eval, "open('PWNED', 'w')")}, 4),
    "nested": pickle.dumps({"state_dict": {"w": [Call(exec, "open('PWNED', 'w')")]}}, 4),
    "call in an argument": b"\x80\x02}X\x01\x00\x00\x00wccollections\nOrderedDict\ncos\nsystem\n"
    b"X\x0b\x00\x00\x00touch PWNED\x85R\x85Rs.",
    "instance": b"\x80\x02}X\x01\x00\x00\x00w(X\x0b\x00\x00\x00touch PWNEDios\nsystem\ns.",
    "object": b"\x80\x02}X\x01\x00\x00\x00w(cos\nsystem\nX\x0b\x00\x00\x00touch PWNEDos.",
    "new object": b"\x80\x02cbuiltins\nobject\n)\x81.",
    "global of a global": b"\x80\x04\x8c\x08builtins\x8c\x07getattr\x93\x8c\x02os\x8c\x06system\x93\x8c\x04name\x86R.",
    "state of a global": b"\x80\x02ccollections\nOrderedDict\n}X\x01\x00\x00\x00aK\x01sb.",
    "extension": b"\x80\x02\x82\x01.",
}
ENDLESS = {
    "memo index": b"\x80\x02}r\xff\xff\xff\x7f.",
    "bytes": b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"abc.",
    "text": b"\x80\x04\x8d" + struct.pack("<Q", 2**40) + b"abc.",
    "frame": b"\x80\x04\x95" + struct.pack("<Q", 2**40) + b"}.",
    "deep key": b"\x80\x02})" + b"\x85" * 300_000 + b"K\x01s.",
    "deep value": b"\x80\x02}K\x01)" + b"\x85" * 300_000 + b"s.",
    "dictionary in itself": b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.",
    "deep names": b"\x80\x02" + b"}K\x01" * 100_000 + b"}" + b"s" * 100_000 + b".",
    "long number": b"\x80\x02}L" + b"9" * 100_000 + b"L\nK\x01s.",
    "wide type": b"\x80\x02)q\x00" + b"h\x00h\x00\x86q\x00" * 40 + b"cnumpy\ndtype\nh\x00\x85R.",  # 2**40 leaves
    "no stop": b"\x80\x02}",
    "no stack": b"\x80\x02tR.",
    "nothing left": b"\x80\x02.",
    "no mark": b"\x80\x02}}u.",
    "a list": b"\x80\x02].",
    "a key twice": b"\x80\x02}(K\x01K\x02K\x01K\x03u.",
    "no arrays": pickle.dumps({"epoch": 3}, 2),
}
HOSTILE = {
    **{("torch", name): torch_file(program) for name, program in (EXECUTING | ENDLESS).items()},
    **{("paddle", name): program for name, program in (EXECUTING | ENDLESS).items()},
    ("torch", "upwards"): torch_file(tensor(*GOOD_TENSOR, key="../../etc/passwd"), {"a/data/0": FOUR}),
    ("torch", "legacy"): pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2),
    ("torch", "bomb"): torch_file(tensor(*GOOD_TENSOR), {"a/data/0": bytes(10**7)}, zipfile.ZIP_DEFLATED),
    ("torch", "compressed"): torch_file(tensor(*GOOD_TENSOR), {"a/data/0": FOUR}, zipfile.ZIP_DEFLATED),
    ("torch", "no pickle"): torch_file(b"").replace(b"data.pkl", b"data.plk"),
    ("torch", "no storage"): torch_file(tensor(*GOOD_TENSOR)),
    ("torch", "big-endian"): torch_file(tensor(*GOOD_TENSOR), {"a/data/0": FOUR, "a/byteorder": b"big"}),
    ("torch", "two entries"): torch_file(tensor(*GOOD_TENSOR), {"a/data/0": FOUR, "a/data/1": FOUR}).replace(
        b"data/1", b"data/0"
    ),
    ("torch", "damaged numbers"): torch_file(tensor(*GOOD_TENSOR), {"a/data/0": FOUR}).replace(FOUR, FOUR[::-1]),
    **{
        ("torch", what): torch_file(tensor(*arguments), {"a/data/0": FOUR})
        for what, arguments in {
            "complex": (b"ComplexFloatStorage", 2, 0, (2,), (1,)),
            "count beyond the entry": (b"FloatStorage", 2**40, 0, (4,), (1,)),
            "count below the entry": (b"FloatStorage", 3, 0, (3,), (1,)),
            "offset": (b"FloatStorage", 4, 1, (2, 2), (2, 1)),
            "negative offset": (b"FloatStorage", 4, -1, (2, 2), (2, 1)),
            "strides": (b"FloatStorage", 4, 0, (2, 2), (3, 1)),
            "negative strides": (b"FloatStorage", 4, 3, (2, 2), (-2, -1)),
            "repeated": (b"FloatStorage", 4, 0, (2**40,), (0,)),
            "huge": (b"FloatStorage", 4, 0, (2**61, 2**61), (2**61, 1)),
            "huge and empty": (b"FloatStorage", 4, 0, (0, 2**61, 2**61), (1, 1, 1)),
            "negative": (b"FloatStorage", 4, 0, (-2, -2), (2, 1)),
            "fractions": (b"FloatStorage", 4, 0, (2.0, 2.0), (2, 1)),
            "strides of another rank": (b"FloatStorage", 4, 0, (2, 2), (1,)),
        }.items()
    },
    **{
        ("paddle", what): paddle_array(*arguments)  # type: ignore[arg-type]
        for what, arguments in {
            "objects": ("O8", (2, 2), FOUR),
            "text type": ("U1", (2, 2), FOUR),
            "type is not text": (5, (2, 2), FOUR),
            "list of objects": ("f4", (2,), [1.0, 2.0]),
            "huge": ("f4", (2**31, 2**31), FOUR),
            "huge and empty": ("f4", (0, 2**61, 2**61), b""),
            "negative": ("f4", (-2, -2), FOUR),
            "no shape": ("f4", 4, FOUR),
            "many sides": ("f4", (1,) * 40 + (4,), FOUR),
            "short": ("f4", (2, 2), FOUR[:-1]),
            "long": ("f4", (2, 2), FOUR + b"\0"),
            "big-endian": ("f4", (2, 2), FOUR, (3, ">", None, None, None, -1, -1, 0)),
            "fields": ("f4", (2, 2), FOUR, (3, "<", ("f4", (2,)), None, None, -1, -1, 0)),
        }.items()
    },
    ("paddle", "bytes over and over"): b"\x80\x02}"
    + b"".join(
        [
            b"c_codecs\nencode\nq\x00X"
            + struct.pack("<I", 10**6)
            + b"x" * 10**6
            + b"X\x06\x00\x00\x00latin1\x86q\x01R",
            b"h\x00h\x01R" * 2000,
            b".",
        ]
    ),
    (
        "paddle",
        "array without numbers",
    ): b"\x80\x03}K\x01cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n\x85Rs.",
    ("paddle", "a name twice"): b"\x80\x03}" + paddle_array(*GOOD_ARRAY)[3:-1] * 2 + b".",
    ("paddle", "slices"): pickle.dumps({"w@@.0": np.ones(2), "UnpackBigParamInfor@@": {}}, 3),
    ("mindspore", "encrypted"): bytes(range(256)),
    ("mindspore", "no arrays"): parameter(b"w", [0], b"str", b"a\0\0\0"),
    ("mindspore", "unknown type"): parameter(b"w", [2], b"Complex64", FOUR),
    ("mindspore", "huge"): parameter(b"w", [2**31, 2**31], b"Float32", FOUR),
    ("mindspore", "huge and empty"): parameter(b"w", [0, 2**61, 2**61], b"Float32", b""),
    ("mindspore", "negative"): parameter(b"w", [2**64 - 2, 2**64 - 2], b"Float32", FOUR),
    ("mindspore", "short"): parameter(b"w", [2, 2], b"Float32", FOUR[:-1]),
    ("mindspore", "slices disagree"): parameter(b"w", [8], b"Float32", FOUR)
    + parameter(b"w", [4, 2], b"Float32", FOUR),
    ("mindspore", "slice too many"): parameter(b"w", [4], b"Float32", FOUR) * 2,
    ("mindspore", "twice"): b"".join(parameter(name, [4], b"Float32", FOUR) for name in (b"w", b"v", b"w")),
    ("mindspore", "name is not text"): parameter(b"\xff\xfe", [4], b"Float32", FOUR),
    ("mindspore", "name with an escape"): parameter(b"\x1b[2J", [4], b"Float32", FOUR),
    ("mindspore", "no name"): parameter(b"", [4], b"Float32", FOUR),
    ("mindspore", "two names"): field(1, field(1, b"w") * 2 + field(2, field(2, b"Float32") + field(3, FOUR))),
    ("mindspore", "number without end"): b"\x0a" + b"\xff" * 30,
    ("mindspore", "bytes beyond the end"): b"\x0a\xff\xff\xff\xff\x7f",
    ("mindspore", "checksum"): parameter(b"w", [4], b"Float32", FOUR) + b"crc_num" + bytes(10),
    **{(name, "empty"): b"" for name in BACKENDS},
    **{(name, "nonsense"): b"no such thing" * 20 for name in BACKENDS},
}


def assert_refused(backend: str, path: Path, content: bytes) -> None:
    """Check that reading raises a ReproError of one line, executes nothing, and takes memory in proportion to it."""
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(ReproError) as caught:
            native_weights(backend).read(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10**6 + 100 * len(content)
    assert str(path) in str(caught.value)
    assert str(caught.value).isprintable()
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(("name", "what"), HOSTILE, ids=lambda value: value.replace(" ", "-"))
def test_hostile_files_are_refused(name, what, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where the code inside would leave its mark
    assert_refused(name, tmp_path / f"file{EXTENSION[name]}", HOSTILE[name, what])


@pytest.mark.parametrize(
    ("name", "what", "reason"),
    [
        ("torch", "nested", "it holds no arrays"),
        ("torch", "legacy", "pickle exhausted before seeing STOP"),
        ("torch", "complex", "convert the model with .float() and save it again"),
        ("torch", "compressed", "the zip is compressed"),
        ("paddle", "a name twice", "the name 'w' occurs twice"),
        ("paddle", "slices", "save it again with paddle.save(..., protocol=4)"),
        ("mindspore", "bytes beyond the end", "it is cut short"),
        ("mindspore", "unknown type", "w has the type 'Complex64'; save it as Float32"),
    ],
)
def test_the_error_says_what_to_do(name, what, reason, tmp_path):
    path = tmp_path / f"file{EXTENSION[name]}"
    path.write_bytes(HOSTILE[name, what])
    with pytest.raises(ReproError, match=re.escape(reason)):
        native_weights(name).read(path)


def test_the_hostile_files_differ_from_good_ones_in_one_point_each(tmp_path):
    """Otherwise they could be refused for another reason than the one under test."""
    good = {
        "torch": torch_file(tensor(*GOOD_TENSOR), {"a/data/0": FOUR}),
        "paddle": paddle_array(*GOOD_ARRAY),
        "mindspore": parameter(b"w", [2], b"Float32", FOUR[:8]),
    }
    for name, content in good.items():
        path = tmp_path / f"file{EXTENSION[name]}"
        path.write_bytes(content)
        assert native_weights(name).read(path)["w"].reshape(-1)[:2].tolist() == [1, 2]


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKENDS)
def test_a_file_cut_short_anywhere_is_refused(name, tmp_path):
    whole = written(name, tmp_path).read_bytes()
    ends = {"mindspore": _boundaries(whole)}.get(name, set())  # a checkpoint of fewer parameters is a whole one
    path = tmp_path / f"file{EXTENSION[name]}"
    for length in sorted({*range(0, len(whole), 37), *range(len(whole) - 40, len(whole))} - ends):
        assert_refused(name, path, whole[:length])


def _boundaries(content: bytes) -> set[int]:
    """Return the ends of a .ckpt file's parameters. Each has less than 16 KiB, so its length takes one or two bytes."""
    ends, at = set(), 0
    while at < len(content):
        low, high = content[at + 1 : at + 3]
        at += 2 + low if low < 128 else 3 + (low & 127) + (high << 7)
        ends.add(at)
    return ends


@pytest.mark.parametrize("name", BACKENDS)
def test_a_missing_file_and_a_folder_are_refused(name, tmp_path):
    with pytest.raises(ReproError, match="is a folder"):
        native_weights(name).read(tmp_path)
    with pytest.raises(ReproError, match="is missing"):
        native_weights(name).read(tmp_path / "none.pth")
