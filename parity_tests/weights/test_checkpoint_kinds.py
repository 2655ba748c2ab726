"""Kinds of PyTorch checkpoints: whole modules, TorchScript, and state dicts next to objects of any class."""

from __future__ import annotations

import argparse
import pickle
import struct
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from parity_tests.conftest import RunProgram
from parity_tests.support.native_samples import FOUR, GOOD_TENSOR, same, tensor, torch_file
from repro.arrays import Arrays
from repro.errors import ReproError
from repro.weights import safetensors_file
from repro.weights.formats import read_file
from repro.weights.inspection import describe_file
from repro.weights.pickled_tree import left_out_line
from repro.weights.torch_legacy import MAGIC


@pytest.fixture(scope="module")
def files(
    require_backend: Callable[[str], None], run_program: RunProgram, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with the same model in every kind of file."""
    require_backend("torch")
    folder = tmp_path_factory.mktemp("kinds")
    run_program("torch", "checkpoint_kinds:save_all", str(folder))
    return folder


def expected(files: Path, name: str = "expected") -> Arrays:
    return safetensors_file.load(files / f"{name}.safetensors")[0]


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("state_dict.pth", ""),
        ("module.pth", ""),
        ("module_legacy.pth", ""),
        ("data_parallel.pth", "module."),
        ("timm.pth", "state_dict/"),
        ("timm_legacy.pth", "state_dict/"),
        ("pickled.pth", ""),
        ("pickled_module.pkl", ""),
        ("two_modules.pth", "model/"),
        ("two_modules.pth", "ema/"),
        ("legacy4.pth", ""),
        ("legacy5.pth", ""),
        ("pair.pth", "0/"),
        ("list.pth", "0/"),
        ("learner.pkl", "model/"),
        ("method.pth", "0/"),
    ],
)
def test_every_kind_gives_the_state_dict(files: Path, name: str, prefix: str) -> None:
    arrays, _ = read_file(files / name)
    weights = {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}
    assert same(weights, expected(files))


@pytest.mark.parametrize("name", ["scripted.pt", "traced.pt"])
def test_torchscript_gives_the_state_dict(files: Path, name: str) -> None:
    """TorchScript stores non-persistent buffers too, and cannot tell them from the others."""
    arrays = dict(read_file(files / name)[0])
    arrays.pop("scratch", None)
    assert same(arrays, expected(files) if name == "scripted.pt" else {n: expected(files)[n] for n in arrays})
    assert {"stem.0.weight", "stem.1.running_var", "head.bias"} <= arrays.keys()


def test_objects_that_are_left_out_are_listed(files: Path) -> None:
    line = next(line for line in describe_file(files / "timm.pth") if line.startswith("# left out: "))
    for entry in (
        "args (argparse.Namespace)",
        "lr_scheduler (torch.optim.lr_scheduler.MultiStepLR)",
        "best_acc1 (NumPy scalar)",
        "started (datetime.datetime)",
        "activation (functools.partial)",
        "dtype (torch.float32)",
    ):
        assert entry in line
    module = left_out_line(read_file(files / "two_modules.pth")[0])
    assert module.startswith("left out: the code of model (") and ".Net), the code of ema (" in module
    assert left_out_line(read_file(files / "state_dict.pth")[0]) == ""
    sparse = left_out_line(read_file(files / "module_sparse.pth")[0])
    assert "head.weight (sparse tensor; save the result of .to_dense())" in sparse
    assert left_out_line(read_file(files / "pair.pth")[0]) == "left out: 1 (argparse.Namespace)"
    assert "1 (argparse.Namespace), the code of 0 (" in left_out_line(read_file(files / "list.pth")[0])


@pytest.mark.parametrize("name", ["odd.pth", "odd_legacy.pth", "numpy2.pth", "numpy5.pth"])
def test_tensors_with_attributes_and_numpy_arrays(files: Path, name: str) -> None:
    arrays, _ = read_file(files / name)
    assert same(arrays, expected(files, "expected_odd"))
    assert not any(array.flags.writeable for array in arrays.values())
    assert ("objects (numpy.ndarray of O8)" in left_out_line(arrays)) == (name == "odd.pth")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("sparse.pth", "it holds no arrays, only weight (sparse tensor; save the result of .to_dense())"),
        ("tensor.pth", "it is one array without a name; save model.state_dict()"),
        ("meta.pth", "it holds no arrays, only weight (tensor of the device meta, which has no values)"),
        ("frozen.pt", "if torch.jit.freeze made it, its weights are nameless: save the state dict of the module that"),
        ("negative.pth", "holds its negative; save the result of .resolve_neg()"),
        ("negative_legacy.pth", "holds its negative; save the result of .resolve_neg()"),
        ("expanded.pth", "a tensor of shape (9,) repeats 1 values; save the result of .contiguous()"),
        ("expanded_legacy.pth", "a tensor of shape (9,) repeats 1 values; save the result of .contiguous()"),
    ],
)
def test_files_without_readable_tensors_are_refused(files: Path, name: str, reason: str) -> None:
    with pytest.raises(ReproError) as caught:
        read_file(files / name)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_objects_in_a_file_of_paddle_are_left_out(protocol: int, tmp_path: Path) -> None:
    arrays = {"conv.weight": np.arange(4, dtype=np.float32).reshape(2, 2)}
    checkpoint = {"model": arrays, "args": argparse.Namespace(lr=0.1), "path": tmp_path, "acc": np.float64(0.5)}
    (tmp_path / "w.pdparams").write_bytes(pickle.dumps(checkpoint, protocol))
    contents, _ = read_file(tmp_path / "w.pdparams")
    assert same(contents, {"model/conv.weight": arrays["conv.weight"]})
    line = "left out: args (argparse.Namespace), path (pathlib.PosixPath), acc (NumPy scalar)"
    assert left_out_line(contents) == line


def text(value: str) -> bytes:
    return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()


MARK = text("touch MARKER")
MODULE = (
    b"cevil\nNet\n)\x81q\x01}(" + text("_parameters") + b"}" + text("_buffers") + b"}" + text("_modules") + b"}q\x02"
)
DEEP = b")" + b"\x85" * 50_000 + b"cevil\nA\n)\x81" + b"q\x050cevil\nA\nh\x05\x85\x81" * 5_000 + b"\x86"
OBJECTS = {
    "REDUCE": (b"cos\nsystem\n" + MARK + b"\x85R", "os.system"),
    "INST": (b"(" + MARK + b"ios\nsystem\n", "os.system"),
    "OBJ": (b"(cos\nsystem\n" + MARK + b"o", "os.system"),
    "NEWOBJ": (b"cos\nsystem\n" + MARK + b"\x85\x81", "os.system"),
    "NEWOBJ_EX": (b"cos\nsystem\n" + MARK + b"\x85}\x92", "os.system"),
    "BUILD of a state": (b"cevil\nSetState\n)\x81" + MARK + b"b", "evil.SetState"),
    "BUILD of __setstate__": (b"cevil\nA\n)\x81}" + text("__setstate__") + b"cos\nsystem\nsb" + MARK + b"b", "evil.A"),
    "BUILD of slots": (b"cevil\nA\n)\x81N}" + text("__class__") + b"cos\nsystem\ns\x86b", "evil.A"),
    "STACK_GLOBAL": (text("evil") + text("run") + b"\x93" + MARK + b"\x85R", "evil.run"),
    "STACK_GLOBAL of dots": (text("evil.sub") + text("run.__globals__.x") + b"\x93)R", "evil.sub.run.__globals__.x"),
    "STACK_GLOBAL of escapes": (text("\x1b[2J\n") + text("") + b"\x93)R", "?[2J?."),
    "global": (b"cevil\nrun\n", "evil.run"),
    "getattr": (b"cbuiltins\ngetattr\ncos\nPath\n" + text("system") + b"\x86R" + MARK + b"\x85R", "os.Path"),
    "call of a call": (b"cfunctools\npartial\ncos\nsystem\n" + MARK + b"\x86R)R", "functools.partial"),
    "copyreg": (b"ccopyreg\n_reconstructor\ncevil\nA\ncbuiltins\nobject\nN\x87R", "evil.A"),
    "storage in bytes": (b"ctorch.storage\n_load_from_bytes\nC\x12cos\nsystem\n)R.xxxx\x85R", "x (torch.storage._load"),
    "items": (b"cevil\nDict\n)\x81(" + text("k") + b"cos\nsystem\n)Ru", "x/k (os.system)"),
    "elements": (b"cevil\nList\n)\x81(cos\nsystem\n)Re", "evil.List"),
    "keys": (b"}(cos\nsystem\n)RK\x01)K\x02NK\x03\x8a\x10" + b"\x7f" * 16 + b"K\x04u", "keys that are not names"),
    "braces": (text("evil") + text("{0.x}{}{") + b"\x93)R", "evil.{0.x}{}{"),
    "list": (b"](cos\nsystem\n)Re", "list"),
    "deep": (DEEP, "x (tuple)"),
    "a class of numpy": (b"cnumpy.core.multiarray\n_reconstruct\ncevil\nA\nK\x00\x85C\x01b\x87R", "evil.A"),
    "a dtype of objects": (b"cnumpy\ndtype\n" + text("O8") + b"\x89\x88\x87RNb", ""),
}  # fmt: skip
REFUSED = {
    "a module in itself": MODULE + text("m") + b"h\x01sub",
    "modules of modules": b"".join(
        b"cevil\nNet\n)\x81}(" + text("_parameters") + b"}" + text("_buffers") + b"}" + text("_modules") + b"}("
        + b"".join(text(name) + b"h%c" % (10 + level) for name in "ab" if level) + b"uubq%c" % (11 + level)
        for level in range(60)
    ),
    "a long name": text("evil") + text("x" * 2000) + b"\x93)R",
    "state of a class": b"cevil\nA\n}" + text("x") + b"K\x01sb",
    "a call of a number": b"K\x01)R",
    "arguments that are a list": b"cos\nsystem\n]R",
    "many arguments": b"ctorch\nSize\n(" + b"K\x01" * 1000 + b"tR",
    "extension": b"\x82\x01",
    "out-of-band buffer": b"\x97",
    "text reference": b"Pos.system\n",
    "a reference that is a number": b"K\x01Q",
    "a reference to a function": b"(" + text("storage") + b"cos\nsystem\n" + text("0") + text("cpu") + b"K\x04tQ",
    "a number longer than the file": b"\x8b\xff\xff\xff\x7fx",
    "a number of a negative length": b"\x8b\xff\xff\xff\xffx",
    "a number of sixty thousand digits": b"L" + b"9" * 60_000 + b"L\n",
    "text longer than the file": b"\x8d" + b"\xff" * 8,
    "OBJ of a number": b"(K\x01K\x02o",
    "state of a list": b"]}b",
    "a name that was never stored": b"h\x99",
}  # fmt: skip


@pytest.fixture
def folder_with_traps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, whose module `evil` makes a file when it is imported."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "evil.py").write_text("open('MARKER', 'w')\nclass A: pass\nrun = SetState = Net = A\n")
    monkeypatch.syspath_prepend(tmp_path / "modules")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def hostile_file(folder: Path, value: bytes) -> Path:
    """Write a checkpoint with a good tensor "w" and a hostile value "x", and return its path."""
    path = folder / "file.pth"
    program = tensor(*GOOD_TENSOR)[:-1] + text("x") + value + b"s."
    path.write_bytes(torch_file(program, {"a/data/0": FOUR}))
    return path


def read_within_limits(path: Path) -> Arrays:
    """Read a file, and assert that it takes little memory, executes nothing and imports nothing."""
    tracemalloc.start()
    try:
        return read_file(path)[0]
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2 * 10**6 + 100 * path.stat().st_size
        assert [entry.name for entry in path.parent.iterdir()] == [path.name]
        assert "evil" not in sys.modules


@pytest.mark.parametrize("case", OBJECTS, ids=lambda case: case.replace(" ", "-"))
def test_a_hostile_object_is_inert(case: str, folder_with_traps: Path) -> None:
    value, title = OBJECTS[case]
    arrays = read_within_limits(hostile_file(folder_with_traps, value))
    assert {name: array.tolist() for name, array in arrays.items()} == {"w": [[1, 2], [3, 4]]}
    assert title in left_out_line(arrays)
    assert left_out_line(arrays).isprintable()


def test_a_module_that_a_list_repeats_is_looked_through_once(folder_with_traps: Path) -> None:
    names = b"".join(text(f"p{number}") + b"N" for number in range(20_000))
    module = MODULE[: MODULE.index(b"}" + text("_buffers"))] + b"}(" + names + b"u"
    module += MODULE[MODULE.index(text("_buffers")) :] + b"ub0"
    start = time.process_time()
    for value in (b"](" + b"h\x01" * 20_000 + b"e", b"h\x01"):
        assert list(read_within_limits(hostile_file(folder_with_traps, module + value))) == ["w"]
    assert time.process_time() - start < 15  # seconds of processor time; it takes at most 1


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.replace(" ", "-"))
def test_a_hostile_value_is_refused(case: str, folder_with_traps: Path) -> None:
    path = hostile_file(folder_with_traps, REFUSED[case])
    with pytest.raises(ReproError, match=r"cannot read .*file\.pth") as caught:
        read_within_limits(path)
    assert str(caught.value).isprintable()


STORAGE_FILE = (
    MAGIC
    + pickle.dumps(1001, 2)
    + pickle.dumps({"little_endian": True}, 2)
    + b"\x80\x02("
    + text("storage")
    + b"ctorch\nFloatStorage\n"
    + text("k")
    + text("cpu")
    + b"K\x04NtQ."
    + pickle.dumps(["k"], 2)
    + struct.pack("<q", 4)
    + FOUR
)


def pickled_tensor(storage: bytes, *, calls: int = 1) -> bytes:
    """Return a file of pickle.dump with the tensor "w"; its storage is read `calls` times."""
    load = b"ctorch.storage\n_load_from_bytes\n"
    memo = b"B" + struct.pack("<I", len(storage)) + storage + b"q\x01"
    again = b"0" + b"".join([load + b"h\x01\x85R0"] * (calls - 1)) + load + b"h\x01\x85R"
    view = b"K\x00" + b"K\x02K\x02\x86" + b"K\x02K\x01\x86" + b"\x89}"
    return b"\x80\x03}" + text("w") + b"ctorch._utils\n_rebuild_tensor_v2\n(" + memo + again + view + b"tRs."


def test_storages_in_a_pickle_are_limited(folder_with_traps: Path) -> None:
    path = folder_with_traps / "file.pkl"
    path.write_bytes(pickled_tensor(STORAGE_FILE))
    assert read_within_limits(path)["w"].tolist() == [[1, 2], [3, 4]]
    call = b"\x80\x02cevil\nrun\n" + MARK + b"\x85R."
    for content in (
        pickled_tensor(STORAGE_FILE, calls=1000),
        pickled_tensor(pickled_tensor(STORAGE_FILE)),
        pickled_tensor(call),
        pickled_tensor(MAGIC + call),
        pickled_tensor(STORAGE_FILE[:-1]),
    ):
        path.write_bytes(content)
        with pytest.raises(ReproError, match=r"cannot read .*file\.pkl"):
            read_within_limits(path)
