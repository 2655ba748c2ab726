"""The frameworks' own files: equal to what the frameworks read and write, and no harm from a hostile one."""

from __future__ import annotations

import io
import json
import os
import pickle
import pickletools
import re
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import ml_dtypes  # noqa: F401 - NumPy then knows the name bfloat16
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repro.discovery import SHIPPED, native_weights
from repro.errors import ReproError
from repro.specs import Weight
from repro.weights.unpickle import arrays_in, unpickle
from repro.workers import interpreter

BACKENDS = list(SHIPPED)
EXTENSION = {name: native_weights(name).EXTENSIONS[0] for name in BACKENDS}
WEIGHTS = {
    "0.weight": Weight((4, 3, 3, 3), "conv"),
    "1.weight": Weight((4,), "norm_scale"),
    "1.bias": Weight((4,), "norm_shift"),
    "1.running_mean": Weight((4,), "norm_mean"),
    "1.running_var": Weight((4,), "norm_var"),
    "3.weight": Weight((4, 4), "linear"),  # square: its shape does not tell which way round it is
    "3.bias": Weight((4,), "bias"),
}
# What a plain user of the framework writes. Each loads sys.argv[1], runs one image of ones, prints the outcome and
# saves the state again as sys.argv[2].
USERS = {
    "torch": """
import json, sys, torch
from torch import nn
model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 4)).eval()
model.load_state_dict(torch.load(sys.argv[1], weights_only=True))
torch.save(model.state_dict(), sys.argv[2])
print(json.dumps(model(torch.ones(1, 3, 3, 3)).tolist()))
""",
    "paddle": """
import json, sys, paddle
from paddle import nn
model = nn.Sequential(nn.Conv2D(3, 4, 3, bias_attr=False), nn.BatchNorm2D(4), nn.Flatten(), nn.Linear(4, 4))
model.eval()
assert model.set_state_dict(paddle.load(sys.argv[1])) == ([], [])
paddle.save(model.state_dict(), sys.argv[2])
print(json.dumps(model(paddle.ones([1, 3, 3, 3])).tolist()))
""",
    "mindspore": """
import json, sys, mindspore
from mindspore import nn
model = nn.SequentialCell(nn.Conv2d(3, 4, 3, pad_mode="valid"), nn.BatchNorm2d(4), nn.Flatten(), nn.Dense(4, 4))
model.set_train(False)
assert mindspore.load_param_into_net(model, mindspore.load_checkpoint(sys.argv[1]), strict_load=True) == ([], [])
mindspore.save_checkpoint(model, sys.argv[2])
print(json.dumps(model(mindspore.ops.ones((1, 3, 3, 3))).asnumpy().tolist()))
""",
}


def weights(dtype: str = "float32") -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    return {name: rng.uniform(0.5, 1.5, weight.shape).astype(dtype) for name, weight in WEIGHTS.items()}


def native(backend: str, dtype: str = "float32") -> dict[str, np.ndarray]:
    return native_weights(backend).NAMES.to_native(weights(dtype), WEIGHTS)


def same(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> bool:
    def bits(arrays):
        return {name: (array.shape, array.dtype.name, array.tobytes()) for name, array in arrays.items()}

    return bits(left) == bits(right)


def written(backend: str, folder: Path, dtype: str = "float32") -> Path:
    path = folder / f"file{EXTENSION[backend]}"
    native_weights(backend).write(path, native(backend, dtype))
    return path


def expected_logits() -> np.ndarray:
    w = {name: array.astype("float64") for name, array in weights().items()}
    x = w["0.weight"].sum((1, 2, 3))
    x = (x - w["1.running_mean"]) / np.sqrt(w["1.running_var"] + 1e-5) * w["1.weight"] + w["1.bias"]
    return w["3.weight"] @ x + w["3.bias"]


def test_the_framework_reads_our_file_and_we_read_its_own(backend, tmp_path):
    theirs = tmp_path / f"theirs{EXTENSION[backend]}"
    environment = os.environ | ({"GLOG_v": "4"} if backend == "mindspore" else {})  # for paddle it would mean verbose
    user = subprocess.run(
        [interpreter(backend), "-c", USERS[backend], str(written(backend, tmp_path)), str(theirs)],
        capture_output=True, text=True, check=False, cwd=tmp_path, env=environment,
    )  # fmt: skip
    assert user.returncode == 0, user.stderr
    np.testing.assert_allclose(json.loads(user.stdout.splitlines()[-1])[0], expected_logits(), rtol=1e-5)
    found = native_weights(backend).read(theirs)
    counter = found.pop("1.num_batches_tracked", None)
    assert (counter is not None) == (backend == "torch")
    assert same(found, native(backend))


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64", "int8", "int64", "uint8", "bool"])
def test_every_bit_comes_back(name, dtype, tmp_path):
    module = native_weights(name)
    arrays = native(name, dtype) | {"scalar": np.array(3, dtype), "empty": np.zeros((0, 5), dtype)}
    arrays["turned"] = np.arange(6).reshape(2, 3).astype(dtype).T
    arrays["big_endian"] = np.arange(3).astype(np.dtype(dtype).newbyteorder(">"))
    path = tmp_path / f"file{EXTENSION[name]}"
    module.write(path, arrays)
    assert same(module.read(path), arrays | {"big_endian": np.arange(3).astype(dtype)})


@pytest.mark.parametrize("name", BACKENDS)
def test_odd_float_bits_come_back(name, tmp_path):
    module = native_weights(name)
    odd = np.array([0x7FC00001, 0x7F800001, 0xFF800000, 0x80000000, 1], "uint32").view(
        "float32"
    )  # NaNs, -inf, -0, tiny
    path = tmp_path / f"file{EXTENSION[name]}"
    module.write(path, {"odd": odd})
    assert module.read(path)["odd"].tobytes() == odd.tobytes()


@pytest.mark.parametrize("name", BACKENDS)
def test_what_cannot_be_written_leaves_the_old_file(name, tmp_path):
    path = tmp_path / f"file{EXTENSION[name]}"
    path.write_text("old")
    with pytest.raises(ReproError, match="holds complex64"):
        native_weights(name).write(path, {"a": np.zeros(2, "complex64")})
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


# Hostile files


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.called = function, arguments

    def __reduce__(self):
        return self.called


def torch_file(program: bytes, entries: dict[str, bytes] | None = None, compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in {"a/data.pkl": program, "a/byteorder": b"little", **(entries or {})}.items():
            archive.writestr(name, data)
    return file.getvalue()


def tensor(storage: bytes, count: int, offset: int, shape: tuple, strides: tuple, *, key: str = "0") -> bytes:
    """A pickle of {"w": tensor}; `storage` is a class of torch."""

    def plain(value):
        return pickle.dumps(value, 2)[2:-1]

    reference = (
        b"(" + plain("storage") + b"ctorch\n" + storage + b"\n" + plain(key) + plain("cpu") + plain(count) + b"tQ"
    )
    arguments = reference + plain(offset) + plain(shape) + plain(strides) + b"\x89}"
    return b"\x80\x02}" + plain("w") + b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tRs."


def paddle_array(dtype: object, shape: tuple, data: object, state: object = None) -> bytes:
    def plain(value):
        return pickle.dumps(value, 3)[2:-1]

    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + plain((0,)) + plain(b"b") + b"\x87R"
    kind = b"cnumpy\ndtype\n" + plain((dtype, False, True)) + b"R" + (plain(state) + b"b" if state else b"")
    return b"\x80\x03}" + plain("w") + array + b"(K\x01" + plain(shape) + kind + b"\x89" + plain(data) + b"tbs."


def field(number: int, content: bytes | int) -> bytes:
    def varint(value):
        groups = []
        while value > 127:
            groups.append(value & 127 | 128)
            value >>= 7
        return bytes([*groups, value])

    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def parameter(name: bytes, dims: list[int], kind: bytes, data: bytes) -> bytes:
    return field(1, field(1, name) + field(2, b"".join(field(1, d) for d in dims) + field(2, kind) + field(3, data)))


FOUR = struct.pack("<4f", 1, 2, 3, 4)
GOOD_TENSOR = (b"FloatStorage", 4, 0, (2, 2), (2, 1))
GOOD_ARRAY = ("f4", (2, 2), FOUR)
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
            "type is no text": (5, (2, 2), FOUR),
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
    ("mindspore", "name is no text"): parameter(b"\xff\xfe", [4], b"Float32", FOUR),
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
    """ReproError of one line, with no more memory than a small multiple of the file, and nothing executed."""
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
        ("torch", "nested", "it asks to call builtins.exec, which no plain dictionary of arrays needs"),
        ("torch", "legacy", "it is no zip; load it in PyTorch and save its state_dict again"),
        ("torch", "complex", "convert the model with .float() and save it again"),
        ("torch", "compressed", "the zip is compressed"),
        ("paddle", "a name twice", "the name 'w' is there twice"),
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
    """Else they would be refused for another reason than the one under test."""
    good = {
        "torch": torch_file(tensor(*GOOD_TENSOR), {"a/data/0": FOUR}),
        "paddle": paddle_array(*GOOD_ARRAY),
        "mindspore": parameter(b"w", [2], b"Float32", FOUR[:8]),
    }
    for name, content in good.items():
        path = tmp_path / f"file{EXTENSION[name]}"
        path.write_bytes(content)
        assert native_weights(name).read(path)["w"].reshape(-1)[:2].tolist() == [1, 2]


@pytest.mark.parametrize("name", BACKENDS)
def test_a_file_cut_short_anywhere_is_refused(name, tmp_path):
    whole = written(name, tmp_path).read_bytes()
    ends = {"mindspore": _boundaries(whole)}.get(name, set())  # a checkpoint of fewer parameters is a whole one
    path = tmp_path / f"file{EXTENSION[name]}"
    for length in sorted({*range(0, len(whole), 37), *range(len(whole) - 40, len(whole))} - ends):
        assert_refused(name, path, whole[:length])


def _boundaries(content: bytes) -> set[int]:
    """Where a .ckpt file's parameters end. Each is below 16 KiB here, so that its length takes one or two bytes."""
    ends, at = set(), 0
    while at < len(content):
        low, high = content[at + 1 : at + 3]
        at += 2 + low if low < 128 else 3 + (low & 127) + (high << 7)
        ends.add(at)
    return ends


def test_a_flipped_byte_in_a_zip_never_changes_a_number(tmp_path):
    path = written("torch", tmp_path)
    whole = path.read_bytes()
    for at in range(0, len(whole), 11):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])
        try:
            found = native_weights("torch").read(path)
        except ReproError:
            continue
        assert same(found, native("torch")), f"byte {at} was flipped"  # it was padding or a time stamp


@pytest.mark.parametrize("name", BACKENDS)
def test_a_missing_file_and_a_folder_are_refused(name, tmp_path):
    with pytest.raises(ReproError, match="is a folder"):
        native_weights(name).read(tmp_path)
    with pytest.raises(ReproError, match="is missing"):
        native_weights(name).read(tmp_path / "none.pth")


def arrays_or_refusal(name: str, path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        found = native_weights(name).read(path)
    except ReproError:
        return
    assert found
    assert sum(array.nbytes for array in found.values()) <= 20 * len(content)
    assert all(array.dtype.kind in "biuf" for array in found.values())


SHORT = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("name", BACKENDS)
@SHORT
@given(content=st.binary(max_size=200))
def test_random_bytes(name, tmp_path, content):
    arrays_or_refusal(name, tmp_path / f"file{EXTENSION[name]}", content)
    if name == "torch":  # past the zip
        arrays_or_refusal(name, tmp_path / "file.pth", torch_file(content, {"a/data/0": FOUR}))


@SHORT
@given(
    st.lists(st.sampled_from([opcode.code.encode("latin1") for opcode in pickletools.opcodes]), max_size=30),
    st.binary(max_size=8),
)
def test_random_instructions(tmp_path, codes, argument):
    program = b"}" + b"".join(code + argument[: index % 9] for index, code in enumerate(codes)) + b"."
    arrays_or_refusal("paddle", tmp_path / "file.pdparams", program)
    arrays_or_refusal("torch", tmp_path / "file.pth", torch_file(program, {"a/data/0": FOUR}))


@pytest.mark.parametrize("name", BACKENDS)
@SHORT
@given(data=st.data())
def test_mutated_files(name, tmp_path, data):
    content = bytearray(written(name, tmp_path).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
        if not content:
            content = bytearray(b"\0")
    arrays_or_refusal(name, tmp_path / f"file{EXTENSION[name]}", bytes(content))


# Kinds of good files that our writers do not write


def test_an_array_in_slices_is_put_together(tmp_path):
    path = tmp_path / "file.ckpt"
    path.write_bytes(
        parameter(b"w", [2, 2], b"Float32", FOUR[:12])
        + parameter(b"w", [2, 2], b"Float32", FOUR[12:])
        + field(1, field(1, b"packed") + field(2, field(1, b"\x02\x02") + field(2, b"Float32") + field(3, FOUR)))
        + parameter(b"note", [0], b"str", b"a\0\0\0")
        + parameter(b"step", [0], b"Float32", FOUR[4:8])
    )
    found = native_weights("mindspore").read(path)
    assert {name: array.tolist() for name, array in found.items()} == {
        "w": [[1, 2], [3, 4]], "packed": [[1, 2], [3, 4]], "step": 2,
    }  # fmt: skip


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_pickles_of_any_protocol_and_order(tmp_path, protocol):
    path = tmp_path / "file.pdparams"
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "c": np.array(2)}
    path.write_bytes(pickle.dumps({"model": arrays, "epoch": 3}, protocol))
    assert same(native_weights("paddle").read(path), {f"model/{name}": array for name, array in arrays.items()})
    if protocol < 4:  # where names have no length in front of them
        path.write_bytes(path.read_bytes().replace(b"numpy.core.", b"numpy._core."))  # as NumPy 2 spells it
        assert same(native_weights("paddle").read(path), {f"model/{name}": array for name, array in arrays.items()})


def test_storages_start_where_torch_starts_them(tmp_path):
    content = written("torch", tmp_path).read_bytes()
    starts = [content.index(array.tobytes()) for array in native("torch").values()]
    assert [start % 64 for start in starts] == [0] * len(starts)


def test_a_view_into_a_shared_storage(tmp_path):
    path = tmp_path / "file.pth"
    path.write_bytes(torch_file(tensor(b"FloatStorage", 4, 1, (1, 2), (1, 2)), {"a/data/0": FOUR}))
    assert native_weights("torch").read(path)["w"].tolist() == [[2, 4]]


def test_a_dictionary_of_dictionaries_of_itself_is_walked_once():
    layers = [b"}q%c(K\x01h%cK\x02h%cu" % (layer, layer - 1, layer - 1) for layer in range(1, 60)]
    bush = unpickle(b"\x80\x02}q\x00" + b"".join(layers) + b".", {})
    with pytest.raises(ValueError, match="no arrays"):  # and that soon, though there are 2^60 paths
        arrays_in(bush)


def test_reading_and_writing_import_no_framework(tmp_path):
    program = (
        "import sys, numpy; from pathlib import Path; from repro.discovery import native_weights, SHIPPED\n"
        "for name in SHIPPED:\n"
        "    module = native_weights(name); path = Path(sys.argv[1] + module.EXTENSIONS[0])\n"
        "    module.write(path, {'a': numpy.ones(2)}); module.read(path)\n"
        "assert not {'torch', 'paddle', 'mindspore', 'google.protobuf'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "file")], check=True)
