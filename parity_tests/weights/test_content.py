"""Weight files are read as what their content is, whatever they are called; other files are named for what they are."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import pickle
import tarfile
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parity_tests.support.native_samples import BACKENDS, native, same, written
from repro.errors import ReproError
from repro.specs import find_spec
from repro.weights import safetensors_file
from repro.weights.formats import KERAS, SAFETENSORS, read_file, source_format
from repro.weights.init import initialise
from repro.weights.porting import read_checkpoint, write_weights
from repro.weights.torch_legacy import MAGIC

ARRAYS = {"a.weight": np.arange(6, dtype="float32").reshape(2, 3), "a.bias": np.ones(2, "float16")}


def zip_of(**entries: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return file.getvalue()


def tar_of(name: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    return file.getvalue()


@pytest.mark.parametrize("name", ["w.ckpt", "w.bin", "w.pth.tar", "w.pth", "w.safetensors", "w", "w.h5"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_native_file_with_any_name(backend: str, name: str, tmp_path: Path) -> None:
    path = written(backend, tmp_path).rename(tmp_path / name)
    if backend == "paddle":  # paddle.save writes this key into every state dict
        content = path.read_bytes()
        path.write_bytes(content[:-1] + b"\x8c\x1bStructuredToParameterName@@}s.")
    assert source_format(path) == backend
    assert same(read_file(path)[0], native(backend))


@pytest.mark.parametrize("name", ["w.pth", "w.bin", "pytorch_model.ckpt", "w.npz", "w.h5"])
def test_safetensors_with_any_name(name: str, tmp_path: Path) -> None:
    safetensors_file.save(tmp_path / name, ARRAYS, {"format": "pt"})
    assert source_format(tmp_path / name) == SAFETENSORS
    arrays, metadata = read_file(tmp_path / name)
    assert same(arrays, ARRAYS)
    assert metadata == {"format": "pt"}


@pytest.mark.parametrize("length", [0x80, 0x0A, 0x8B1F, 0x1008])
def test_the_length_of_a_header_looks_like_another_kind(length: int, tmp_path: Path) -> None:
    """Its first byte is that of a pickle, of a MindSpore checkpoint or of gzip."""
    header = json.dumps({"a": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}}).encode().ljust(length)[:length]
    path = tmp_path / "w.bin"
    path.write_bytes(length.to_bytes(8, "little") + header + b"ab")
    assert source_format(path) == SAFETENSORS


def test_hdf5_with_any_name(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    assert source_format(tmp_path / "w.pth") == KERAS
    with pytest.raises(ReproError, match=r"as a Keras \.h5 or \.keras file"):
        read_file(tmp_path / "w.pth")


STARTS = [
    b"", b"PK\3\4", b"\x89HDF\r\n\x1a\n", b"\x80\x02}", b"\n\x05\n", b"\x10\0\0\0\0\0\0\0{", b'{"weight_map": {', MAGIC,
]  # fmt: skip
OTHER_FILES = {
    "empty": (b"", "is empty; download it again"),
    "HTML": (b"\n<!DOCTYPE html>\n<html><head>", "is a web page, not weights: the download was redirected"),
    "XML": (b'<?xml version="1.0"?><Error>AccessDenied</Error>', "is a web page, not weights"),
    "LFS": (b"version https://git-lfs.github.com/spec/v1\n", "is a git-LFS pointer, not weights; run git lfs pull"),
    "JSON": (b'{"architectures": ["ResNet"]}', "is JSON, not weights; give the weight file"),
    "text": (b"404: Not Found", "is text, not weights; it begins with '404: Not Found'"),
    "escapes": (b"\x1b[2J" * 20, "cannot read"),
    "gzip": (gzip.compress(b"x"), "is a gzip file; unpack it"),
    "tar": (tar_of("weights"), "it is a tar archive: unpack it"),
    "zip": (zip_of(**{"weights.pth": b"x"}), r"is a zip archive of other files (weights.pth, ...); unpack it"),
    "cut zip": (zip_of(**{"a/data.pkl": b"x" * 99})[:-30], "is a zip archive that is cut short or damaged"),
    "torch.export": (zip_of(**{"a/archive_format": b"pt2"}), "is an archive of torch.export; save its state dict"),
    "npy": (b"\x93NUMPY\x01\x00", "is a single NumPy array"),
    "GGUF": (b"GGUF" + bytes(20), "is a GGUF file"),
    "ONNX": (b"\x08\x08\x12\x07pytorch", "is an ONNX graph, whose weights can be merged; give the file that"),
    "ONNX without a producer": (b"\x08\x0a:\x85\x01", "is an ONNX graph"),
    "TensorFlow Lite": (b"\x1c\0\0\0TFL3" + bytes(20), "is a TensorFlow Lite graph"),
    "zeros": (bytes(1000), "cannot read"),
    "lzma": (lzma.compress(b"x", lzma.FORMAT_ALONE), "is an LZMA file; unpack it"),
    "zlib": (zlib.compress(b"x"), "is compressed by zlib, as joblib.dump(..., compress=3) writes it; save"),
    "joblib": (b"\x80\x04\x8c\x13joblib.numpy_pickle", "is a file of joblib; save its dictionary of arrays"),
    "protocol 0": (pickle.dumps({"w": 1}, 0), "is a pickle of protocol 0 or 1; save it with protocol 2"),
    "protocol 1": (pickle.dumps({"w": 1}, 1), "is a pickle of protocol 0 or 1; save it with protocol 2"),
    "MindIR": (b"\n\x031.0\x12\tMindSpore*\x052.8.0", "is a MindIR graph, whose weights can be merged; save"),
    "pdiparams": (bytes(16) + b"\4\0\0\0\x08\5\x10\x10", "is a binary file of PaddlePaddle (.pdiparams), which has no"),
    "SavedModel": (b"\x08\x01\x12\x07abc", "is a file of TensorFlow; load it with Keras, and save the model as"),
    "TensorFlow index": (bytes(40) + bytes.fromhex("57fb808b247547db"), "is a file of TensorFlow; load it with Keras"),
    "an error in torch.save": (
        zip_of(**{"a/version": b"3", "a/byteorder": b"little", "a/.data/serialization_id": b"1"}),
        "is a file of torch.save that ended with an error; save it again",
    ),
    "torch.package": (zip_of(**{"a/.data/0.storage": b"x"}), "is an archive of torch.package; save the state dict"),
    "torch.export before 2.7": (zip_of(**{"serialized_exported_program.json": b"{}"}), "an archive of torch.export"),
    "OpenVINO": (b'<?xml version="1.0"?>\n<net name="x" version="11">', "is an OpenVINO graph, whose weights can be"),
}  # fmt: skip


@pytest.mark.parametrize("kind", OTHER_FILES)
def test_another_file_is_named_in_one_line(kind: str, tmp_path: Path) -> None:
    content, reason = OTHER_FILES[kind]
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    for read in (read_file, read_checkpoint):
        with pytest.raises(ReproError) as caught:
            read(path)
        assert reason in str(caught.value)
        assert str(path) in str(caught.value)
        assert str(caught.value).isprintable()


def test_a_checkpoint_of_another_extension_is_converted(tmp_path: Path) -> None:
    source = tmp_path / "last.ckpt"
    spec = find_spec("shufflenet_v2_x0_5", num_classes=3)
    weights = initialise(spec, 0)
    write_weights(tmp_path / "w.pth", spec, weights)
    (tmp_path / "w.pth").rename(source)
    checkpoint = read_checkpoint(source, "shufflenet_v2_x0_5", log=lambda line: None)
    assert same(checkpoint.weights, weights)


def test_unknown_content_and_extension(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(ReproError, match="is not a weight file: its content and its extension are unknown"):
        read_file(tmp_path / "a.png")
    with pytest.raises(ReproError, match="needs one of the extensions"):
        read_file(tmp_path / "missing.png")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(STARTS), st.binary(max_size=100))
def test_random_bytes(tmp_path: Path, start: bytes, content: bytes) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(start + content)
    with suppress(ReproError):
        assert read_file(path)[0]


# .npz


def test_npz(tmp_path: Path) -> None:
    arrays = ARRAYS | {
        "turned": np.asfortranarray(ARRAYS["a.weight"]),
        "scalar": np.array(3),
        "empty": np.zeros((0, 2)),
    }
    np.savez(tmp_path / "w.npz", **arrays)
    contents, metadata = read_file(tmp_path / "w.npz")
    assert same(contents, arrays)
    assert metadata == {}
    assert source_format(tmp_path / "w.npz") == SAFETENSORS
    assert not any(array.flags.writeable for array in contents.values())


def npy(header: bytes, content: bytes = b"") -> bytes:
    header += b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content


HEADER = b"{'descr': '%s', 'fortran_order': False, 'shape': %s}"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (npy(HEADER % (b"<f4", b"(2,)"), bytes(4)), "has 8 bytes, not 4"),
        (npy(HEADER % (b"<f4", b"(%d, %d)" % (2**61, 2**61)), bytes(4)), "bytes, not 4"),
        (npy(HEADER % (b">f4", b"(1,)"), bytes(4)), "not little-endian numbers"),
        (npy(HEADER % (b"|O", b"(1,)"), b"cos\nsystem\n(tR."), "not little-endian numbers"),
        (npy(b"{" * 5000), "cannot read"),
        (npy(b"__import__('os').system('touch MARKER')"), "cannot read"),
        (b"\x93NUMPY\x09\x00", "version (9, 0)"),
        (b"no array", "cannot read"),
    ],
)
def test_hostile_npz(content: bytes, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.npz").write_bytes(zip_of(**{"a.npy": content}))
    with pytest.raises(ReproError) as caught:
        read_file(tmp_path / "w.npz")
    assert reason in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["w.npz"]


def test_compressed_npz_is_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "w.npz", a=np.zeros(10**5))
    with pytest.raises(ReproError, match=r"save it with numpy\.savez"):
        read_file(tmp_path / "w.npz")


# Shards


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """A folder with two shards and their index."""
    weight_map = {}
    for number, (name, array) in enumerate(ARRAYS.items(), 1):
        file = f"model-0000{number}-of-00002.safetensors"
        safetensors_file.save(tmp_path / file, {name: array})
        weight_map[name] = file
    index = {"metadata": {"total_size": 28}, "weight_map": weight_map}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    return tmp_path


def test_shards_are_put_together(shards: Path) -> None:
    for path in (shards, shards / "model.safetensors.index.json"):
        assert same(read_file(path)[0], ARRAYS)


def test_shards_of_torch(tmp_path: Path) -> None:
    source = written("torch", tmp_path).rename(tmp_path / "pytorch_model-00001-of-00001.bin")
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": dict.fromkeys(native("torch"), source.name)}))
    assert same(read_file(tmp_path)[0], native("torch"))
    assert source_format(index) == "torch"
    assert same(read_file(source)[0], native("torch"))  # the only shard is complete


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_folder_with_all_weights_in_one_file(name: str, tmp_path: Path) -> None:
    spec = find_spec("shufflenet_v2_x0_5", num_classes=3)
    weights = initialise(spec, 0)
    write_weights(tmp_path / ("w.safetensors" if name.endswith("s") else "w.pth"), spec, weights)
    next(tmp_path.glob("w.*")).rename(tmp_path / name)
    (tmp_path / "optimizer.bin").write_bytes(b"no weights")
    lines: list[str] = []
    checkpoint = read_checkpoint(tmp_path, "shufflenet_v2_x0_5", log=lines.append)
    assert same(checkpoint.weights, weights)
    assert lines[0] == f"read {name} in the folder {tmp_path}"


def test_a_folder_of_torch_distributed_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "__0_0.distcp").write_bytes(b"x")
    with pytest.raises(ReproError, match=r"is a folder of torch\.distributed\.checkpoint; convert it with python -m"):
        read_file(tmp_path)


def test_one_shard_says_that_it_is_one(shards: Path) -> None:
    shard, index = shards / "model-00002-of-00002.safetensors", shards / "model.safetensors.index.json"
    with pytest.raises(ReproError) as caught:
        read_file(shard)
    assert str(caught.value) == f"{shard} is shard 2 of 2; give {index}"
    index.unlink()
    with pytest.raises(ReproError, match=r"download its index, model\.safetensors\.index\.json, and all shards"):
        read_file(shard)


@pytest.mark.parametrize(
    ("weight_map", "reason"),
    [
        ({"a": "../secret.safetensors"}, "is not an index of shards"),
        ({"a": "/etc/passwd"}, "is not an index of shards"),
        ({"a": 3}, "is not an index of shards"),
        ([], "is not an index of shards"),
        ({"a": "model-00003-of-00003.safetensors"}, "needs 1 more files next to it: model-00003-of-00003.safetensors"),
        ({"a.weight": "model-00001-of-00002.safetensors", "b": "model-00001-of-00002.safetensors"}, "lists b, which"),
        ({"b": "model-00001-of-00002.safetensors"}, "holds a.weight, which"),
        ({"a": "index"}, "is an index of shards, where another index"),
    ],
)
def test_hostile_indices(weight_map: object, reason: str, shards: Path) -> None:
    index = shards / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    (shards / "index").write_text(json.dumps({"weight_map": {"a": "index"}}))
    for read in (read_file, read_checkpoint):
        with pytest.raises(ReproError) as caught:
            read(shards)
        assert reason in str(caught.value)
        assert str(caught.value).isprintable()
