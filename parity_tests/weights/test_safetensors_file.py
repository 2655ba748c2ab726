"""safetensors files: exchange with the safetensors library, and hostile or damaged files."""

from __future__ import annotations

import json
import struct
import tracemalloc
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repro.errors import ReproError
from repro.port import main
from repro.specs import find_spec
from repro.weights import safetensors_file
from repro.weights.init import random_weights

FOUR = struct.pack("<4f", 1, 2, 3, 4)


def make_file(header: object, data: bytes = FOUR) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype: str = "F32", shape: object = (2, 2), offsets: object = (0, 16)) -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


HOSTILE = {
    "empty": b"",
    "short": b"\1\0\0",
    "nonsense": b"no such thing" * 20,
    "header beyond the end": struct.pack("<Q", 2**40) + b"{}",
    "header of 2^64": b"\xff" * 8 + b"{}",
    "no JSON": make_file(b"{no}"),
    "deep JSON": make_file(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "a list": make_file([]),
    "huge": make_file({"w": entry(shape=(2**31, 2**31))}),
    "more than there is": make_file({"w": entry(shape=(2**10, 2**10), offsets=(0, 2**22))}),
    "less than there is": make_file({"w": entry(shape=(2,), offsets=(0, 8))}),
    "overlapping": make_file({"v": entry(), "w": entry()}),
    "a hole": make_file({"v": entry(shape=(1,), offsets=(0, 4)), "w": entry(shape=(1,), offsets=(12, 16))}),
    "backwards": make_file({"w": entry(offsets=(16, 0))}),
    "negative": make_file({"w": entry(shape=(-2, -2))}),
    "negative offset": make_file({"w": entry(offsets=(-16, 0))}),
    "fractions": make_file({"w": entry(shape=(2.0, 2.0))}),
    "unknown type": make_file({"w": entry("F31")}),
    "a type without a NumPy name": make_file({"w": entry("F8_E4M3", (4, 4))}),
    "no shape": make_file({"w": {"dtype": "F32", "data_offsets": [0, 16]}}),
    "metadata that is not text": make_file({"__metadata__": {"model": 3}, "w": entry()}),
    "a name twice": make_file(b'{"w":%s,"w":%s}' % (json.dumps(entry()).encode(), json.dumps(entry()).encode())),
}


def assert_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(ReproError) as caught:
            safetensors_file.load(path)
        assert tracemalloc.get_traced_memory()[1] < 20 * len(content) + 2e6
    finally:
        tracemalloc.stop()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("what", HOSTILE, ids=lambda text: text.replace(" ", "-"))
def test_hostile_files_are_refused(what: str, tmp_path: Path) -> None:
    assert_refused(tmp_path / "w.safetensors", HOSTILE[what])


def test_valid_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(make_file({"__metadata__": {"model": "x"}, "w": entry()}))
    arrays, metadata = safetensors_file.load(path)
    assert arrays["w"].tolist() == [[1, 2], [3, 4]]
    assert metadata == {"model": "x"}


def arrays_of_all_types() -> dict[str, np.ndarray]:
    types = ["float64", "float32", "float16", ml_dtypes.bfloat16, "int64", "int32", "int16", "int8", "uint64", "uint32",
             "uint16", "uint8", "bool"]  # fmt: skip
    arrays = {np.dtype(kind).name: np.arange(6).reshape(2, 3).astype(kind) for kind in types}
    return arrays | {"scalar": np.array(3.0), "empty": np.zeros((0, 5)), "turned": np.arange(6.0).reshape(2, 3).T}


def test_exchange_with_the_library(tmp_path: Path) -> None:
    written, library_written = tmp_path / "written.safetensors", tmp_path / "library.safetensors"
    arrays = arrays_of_all_types()
    safetensors_file.save(written, arrays, {"model": "x"})
    plain = {name: array for name, array in arrays.items() if name != "bfloat16"}
    with safetensors.safe_open(written, framework="numpy") as opened:
        assert opened.metadata() == {"model": "x"}
        for name, array in plain.items():
            read = opened.get_tensor(name)
            assert (read.shape, read.dtype, read.tobytes()) == (array.shape, array.dtype, array.tobytes())
    safetensors.numpy.save_file({name: np.ascontiguousarray(array) for name, array in plain.items()}, library_written)
    for path, expected in ((written, arrays), (library_written, plain)):
        loaded = safetensors_file.load(path)[0]
        assert loaded.keys() == expected.keys()
        for name, array in loaded.items():
            original = np.ascontiguousarray(arrays[name]) if path == library_written else arrays[name]
            assert (array.shape, array.dtype, array.tobytes()) == (original.shape, original.dtype, original.tobytes())


def test_dtype_that_cannot_be_written_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_text("old")
    with pytest.raises(ReproError, match="a holds complex64"):
        safetensors_file.save(path, {"a": np.zeros(2, "complex64")})
    assert [path.read_text(), *tmp_path.iterdir()] == ["old", path]


def test_truncated_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    safetensors_file.save(path, arrays_of_all_types(), {"model": "x"})
    intact = path.read_bytes()
    for length in {*range(0, len(intact), 13), *range(len(intact) - 40, len(intact))}:
        assert_refused(path, intact[:length])


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_flipped_bytes_do_no_harm(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "w.safetensors"
    safetensors_file.save(path, arrays_of_all_types(), {"model": "x"})
    content = bytearray(path.read_bytes())
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[at] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        arrays, _ = safetensors_file.load(path)
    except ReproError as error:
        assert "\n" not in str(error)
    else:
        assert sum(array.nbytes for array in arrays.values()) <= len(content)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pdparams", ".ckpt"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(suffix: str, value: float, tmp_path: Path) -> None:
    from repro.weights.formats import write_file

    spec = find_spec("mobilenet_v2_x0_35", num_classes=3)
    arrays = random_weights(spec, 0)
    arrays["classifier.bias"][1] = value
    arrays = {name: arrays[name] for name in spec.weights}
    path = tmp_path / "w.safetensors"
    safetensors_file.save(path, arrays, {"model": spec.name})
    with pytest.raises(ReproError, match=r"classifier.bias holds NaN or infinity"):
        main([str(path), str(tmp_path / f"a{suffix}")])
    assert not (tmp_path / f"a{suffix}").exists()
    write_file(path, arrays, {"model": spec.name})
    assert main([str(path), "--inspect"]) == 0  # inspection does not check the weights
