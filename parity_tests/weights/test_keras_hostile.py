"""Hostile Keras files, made to mislead, to read other files or to fill the memory: each is refused in one line."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from repro.errors import ReproError
from repro.weights import keras_file

Build = Callable[[h5py.File], object]
ARRAYS = {"a.kernel": np.ones((1, 1, 2, 3), np.float32), "a.bias": np.ones(3, np.float32)}


def image(build: Build) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        build(file)
    return buffer.getvalue()


def keras_3(file: h5py.File) -> None:
    """Write the arrays as Keras 3 does, without the names of layers."""
    for number, array in enumerate(ARRAYS.values()):
        file[f"layers/conv2d/vars/{number}"] = array


def zipped(weights: bytes, compression: int = zipfile.ZIP_STORED, config: str = "{}") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("config.json", config)
        archive.writestr("model.weights.h5", weights)
    return buffer.getvalue()


def refused(build: Build) -> Callable[[Path], bytes]:
    return lambda folder: image(lambda file: (file.attrs.create("layer_names", [b"a"]), build(file)))


def secret(folder: Path) -> Path:
    """Write a file that nobody may read through the hostile one."""
    keras_file.write(folder / "secret.h5", ARRAYS)
    return folder / "secret.h5"


def linked(file: h5py.File, link: object) -> None:
    file.attrs["layer_names"] = [b"a"]
    file["a/a/kernel:0"] = np.ones(2)
    file["b"] = link


def virtual(file: h5py.File, folder: Path) -> None:
    layout = h5py.VirtualLayout((3,), np.float32)
    layout[:] = h5py.VirtualSource(str(secret(folder)), "a/a/bias:0", (3,))
    file.create_virtual_dataset("a/kernel:0", layout)


def circle(file: h5py.File) -> None:
    file["a/kernel:0"] = np.ones(1)
    file["a/b"] = file["a"]


def twice(file: h5py.File) -> None:
    file["a/kernel:0"] = np.ones(1)
    file["b/kernel:0"] = file["a/kernel:0"]


def named(file: h5py.File, name: object) -> None:
    file["layers/dense/vars/0"] = np.ones(1)
    file["layers/dense/vars"].attrs["name"] = name


def external(folder: Path) -> Build:
    files = [(str(secret(folder)), 0, h5py.h5f.UNLIMITED)]
    return lambda file: file.create_dataset("a/kernel:0", (3,), np.float32, external=files)


def endless(folder: Path) -> bytes:
    """Return a file whose heap of strings begins with free space of size 0, in which the HDF5 library loops."""
    content = bytearray(image(lambda file: named(file, "a")))
    start = content.index(b"GCOL") + 16
    content[start : start + 16] = bytes(16)
    return bytes(content)


OPAQUE = np.dtype([("x", np.float32)])
HOSTILE: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "nothing": (lambda _: b"", "empty file"),
    "no HDF5": (lambda _: b"hello, world", "neither an HDF5 file"),
    "only the magic": (lambda _: b"\x89HDF\r\n\x1a\n" + bytes(100), ""),
    "no arrays": (refused(lambda file: None), "holds no arrays"),
    "no layers": (lambda _: image(lambda file: file.create_dataset("x", data=1)), "no list of layers"),
    "a dataset for a model": (lambda _: image(lambda file: file.create_dataset("model_weights", data=1)), "no list of"),
    "no scope": (refused(lambda file: file.create_dataset("kernel:0", data=1.0)), "belongs to no layer"),
    "external link": (lambda folder: image(lambda f: linked(f, h5py.ExternalLink(str(secret(folder)), "/"))), "a link"),
    "external model": (
        lambda folder: image(lambda f: f.__setitem__("model_weights", h5py.ExternalLink(str(secret(folder)), "/"))),
        "no list of layers",
    ),
    "soft link": (lambda _: image(lambda file: linked(file, h5py.SoftLink("/a"))), "a link"),
    "dangling link": (lambda _: image(lambda file: linked(file, h5py.SoftLink("/nowhere"))), "a link"),
    "external storage": (lambda folder: refused(external(folder))(folder), "outside the file"),
    "virtual": (lambda folder: refused(lambda file: virtual(file, folder))(folder), "outside the file"),
    "circle": (refused(circle), "has two names"),
    "one dataset twice": (refused(twice), "has two names"),
    "claimed": (refused(lambda file: file.create_dataset("a/kernel:0", (2**40,), np.float32)), "but no values"),
    "compressed": (
        refused(lambda file: file.create_dataset("a/k:0", data=np.ones(9), compression="gzip")),
        "compresse",
    ),
    "resizable": (refused(lambda file: file.create_dataset("a/k:0", (9,), "f4", maxshape=(None,))), "chunked"),
    "null": (refused(lambda file: file.create_dataset("a/k:0", data=h5py.Empty("f4"))), "but no values"),
    "text": (refused(lambda file: file.create_dataset("a/k:0", data="text")), "does not hold plain numbers"),
    "records": (
        refused(lambda file: file.create_dataset("a/k:0", data=np.ones(2, OPAQUE))),
        "does not hold plain numbers",
    ),
    "complex": (
        refused(lambda file: file.create_dataset("a/k:0", data=np.ones(2, complex))),
        "does not hold plain numbers",
    ),
    "bad name": (refused(lambda file: file.create_dataset("a/k\n:0", data=1.0)), "an array with the name"),
    "same name": (
        refused(lambda file: (file.create_dataset("a/k:0", data=1.0), file.create_dataset("a/k:1", data=1.0))),
        "occurs twice",
    ),
    "nameless": (lambda _: image(keras_3), "does not name the layer"),
    "number for a name": (lambda _: image(lambda file: named(file, 3)), "is not a short string"),
    "list for a name": (lambda _: image(lambda file: named(file, [b"a", b"b"])), "is not a short string"),
    "long name": (lambda _: image(lambda file: named(file, "a" * 2000)), "with the name"),
    "endless heap": (endless, "heap of strings is damaged"),
    "narrow addresses": (lambda _: image(keras_3).replace(b"\x08\x08", b"\x04\x04", 1), "the usual 8 bytes"),
    "not variables": (
        lambda _: image(lambda file: file.create_dataset("layers/a/b", data=1.0)),
        "is not a variable of a",
    ),
    "zip without weights": (lambda _: zipped(b"")[:-22] + b"PK\5\6" + bytes(18), "has no model.weights.h5"),
    "zip of nonsense": (lambda _: zipped(b"nonsense"), "neither an HDF5 file"),
    "compressed zip": (lambda _: zipped(image(keras_3), zipfile.ZIP_DEFLATED), "is compressed"),
    "damaged zip": (lambda _: zipped(image(keras_3)).replace(b"HDF", b"HDG"), "CRC"),
    "config is not JSON": (lambda _: zipped(image(keras_3), config="{"), "Expecting"),
    "config is a list": (lambda _: zipped(image(keras_3), config="[1]"), "list indices"),
    "config of text": (lambda _: zipped(image(keras_3), config='{"config": "text"}'), "does not describe a model"),
    "config of numbers": (lambda _: zipped(image(keras_3), config='{"config": {"layers": [1]}}'), "not subscriptable"),
    "config without end": (lambda _: zipped(image(keras_3), config="[" * 100_000), "recursion"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile(case: str, tmp_path: Path) -> None:
    build, reason = HOSTILE[case]
    (tmp_path / "file.h5").write_bytes(build(tmp_path))
    with pytest.raises(ReproError, match=f"as a Keras .h5 or .keras file: .*{reason}") as caught:
        keras_file.read(tmp_path / "file.h5")
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ReproError, match="is missing; give a Keras"):
        keras_file.read(tmp_path / "none.h5")
