"""The frameworks' own files: equal to what the frameworks read and write."""

from __future__ import annotations

import pickle
import subprocess
import sys

import ml_dtypes  # noqa: F401 - NumPy then knows the name bfloat16
import numpy as np
import pytest

from parity_tests.support.native_samples import (
    BACKENDS,
    EXTENSION,
    FOUR,
    field,
    native,
    parameter,
    same,
    tensor,
    torch_file,
    weights,
    written,
)
from repro.errors import ReproError
from repro.interface.discovery import native_weights
from repro.weights.pickled_tree import arrays_in
from repro.weights.unpickle import unpickle


def expected_logits() -> np.ndarray:
    w = {name: array.astype("float64") for name, array in weights().items()}
    x = w["0.weight"].sum((1, 2, 3))
    x = (x - w["1.running_mean"]) / np.sqrt(w["1.running_var"] + 1e-5) * w["1.weight"] + w["1.bias"]
    return w["3.weight"] @ x + w["3.bias"]


def test_the_framework_reads_our_file_and_we_read_its_own(run_program, backend, tmp_path):
    reference = tmp_path / f"reference{EXTENSION[backend]}"
    logits = run_program(backend, f"native_files:use_{backend}", str(written(backend, tmp_path)), str(reference))
    np.testing.assert_allclose(logits, expected_logits(), rtol=1e-5)
    contents = native_weights(backend).read(reference)
    counter = contents.pop("1.num_batches_tracked", None)
    assert (counter is not None) == (backend == "torch")
    assert same(contents, native(backend))


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
    contents = native_weights("mindspore").read(path)
    assert {name: array.tolist() for name, array in contents.items()} == {
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
    subprocess.run(
        [sys.executable, "-m", "parity_tests.programs.native_files_alone", str(tmp_path / "file")], check=True
    )
