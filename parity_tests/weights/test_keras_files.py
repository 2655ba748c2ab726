"""Keras's weight files: containers written by h5py, files that Keras itself writes and loads, and damaged ones."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from repro.arrays import Arrays
from repro.errors import ReproError
from repro.specs import find_spec
from repro.weights import keras_file
from repro.weights.layouts import layout_named

Build = Callable[[h5py.File], object]
rng = np.random.default_rng(0)
MODEL: Arrays = {
    "first.kernel": rng.standard_normal((3, 3, 2, 4)).astype(np.float32),
    "first.bias": rng.standard_normal(4).astype(np.float32),
    "norm.gamma": rng.standard_normal(4).astype(np.float32),
    "norm.beta": rng.standard_normal(4).astype(np.float32),
    "norm.moving_mean": rng.standard_normal(4).astype(np.float32),
    "norm.moving_variance": rng.uniform(1, 2, 4).astype(np.float32),
    "second.kernel": rng.standard_normal((1, 1, 4, 2)).astype(np.float32),
    "last.kernel": rng.standard_normal((2, 5)).astype(np.float32),
    "last.bias": rng.standard_normal(5).astype(np.float32),
}
GROUPS = {"first": "conv2d", "norm": "batch_normalization", "second": "conv2d_1", "last": "dense"}
CLASSES = {"first": "Conv2D", "norm": "BatchNormalization", "second": "Conv2D", "last": "Dense"}


def legacy(file: h5py.Group, suffix: str = ":0") -> None:
    """Write MODEL as Keras 2 does; Keras 3 omits the suffix."""
    file.attrs["layer_names"] = [b"input", *(layer.encode() for layer in GROUPS)]
    file.create_group("input").attrs["weight_names"] = []
    for name, array in MODEL.items():
        layer, variable = name.split(".")
        file[f"{layer}/{layer}/{variable}{suffix}"] = array


def keras_3(file: h5py.Group, *, named: bool = True, root: str = "layers") -> None:
    """Write MODEL as Keras 3 does; early releases did not name the layers."""
    file.create_group("vars")
    file["optimizer/vars/0"] = np.zeros(3)
    file.create_group(f"{root}/input_layer/vars")
    for layer, group in GROUPS.items():
        variables = file.create_group(f"{root}/{group}/vars")
        if named:
            variables.attrs["name"] = layer
        arrays = [array for name, array in MODEL.items() if name.startswith(f"{layer}.")]
        for number, array in enumerate(arrays):
            variables[str(number)] = array


def image(build: Build) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        build(file)
    return buffer.getvalue()


def zipped(weights: bytes) -> bytes:
    layers = [{"class_name": word, "config": {"name": layer}} for layer, word in CLASSES.items()]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", json.dumps({"config": {"layers": layers}}))
        archive.writestr("model.weights.h5", weights)
    return buffer.getvalue()


def read(tmp_path: Path, content: bytes) -> Arrays:
    path = tmp_path / "file.h5"
    path.write_bytes(content)
    return keras_file.read(path)


def same(arrays: Arrays, expected: Arrays) -> bool:
    return set(arrays) == set(expected) and all(
        arrays[name].dtype == array.dtype and np.array_equal(arrays[name], array) for name, array in expected.items()
    )


CONTAINERS = {
    "legacy": lambda: image(legacy),
    "legacy of Keras 3": lambda: image(lambda file: legacy(file, "")),
    "legacy of a whole model": lambda: image(lambda file: legacy(file.create_group("model_weights"))),
    "weights of Keras 3": lambda: image(keras_3),
    "zip": lambda: zipped(image(keras_3)),
    "zip whose config names the layers": lambda: zipped(image(lambda file: keras_3(file, named=False))),
    "zip of Keras 2": lambda: zipped(
        image(lambda file: keras_3(file, named=False, root="_layer_checkpoint_dependencies"))
    ),
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_containers(container: str, tmp_path: Path) -> None:
    assert same(read(tmp_path, CONTAINERS[container]()), MODEL)


def test_round_trip(tmp_path: Path) -> None:
    arrays = MODEL | {"half.kernel": np.ones((2, 0), np.float16), "scalar.count": np.array(3, np.int64)}
    arrays["big.kernel"] = np.asfortranarray(np.arange(6, dtype=">f8").reshape(2, 3))
    keras_file.write(tmp_path / "a.h5", arrays)
    expected = arrays | {"big.kernel": arrays["big.kernel"].astype("<f8")}
    assert same(keras_file.read(tmp_path / "a.h5"), expected)
    keras_file.write(tmp_path / "b.h5", arrays)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_lists_of_names_have_the_order_of_kerass_model(tmp_path: Path) -> None:
    """Keras assigns weights by the order of layers in the file and of variables in a layer."""
    names = ("a.bias", "a.kernel", "b_0_conv.kernel", "b_1_conv.kernel", "b_3_conv.kernel", "n.moving_mean", "n.beta")
    keras_file.write(tmp_path / "a.h5", {name: np.ones(1, np.float32) for name in names})
    with h5py.File(tmp_path / "a.h5") as file:
        assert list(file.attrs["layer_names"]) == [b"a", b"b_1_conv", b"b_0_conv", b"b_3_conv", b"n"]
        assert list(file["a"].attrs["weight_names"]) == [b"a/kernel:0", b"a/bias:0"]
        assert list(file["n"].attrs["weight_names"]) == [b"n/beta:0", b"n/moving_mean:0"]
        assert file.attrs["keras_version"].startswith(b"2.")


def test_layer_names_come_from_scopes(tmp_path: Path) -> None:
    """The file has a scope that TensorFlow numbered, a model inside the model, and a variable without a scope."""

    def build(file: h5py.File) -> None:
        file.attrs["layer_names"] = [b"a_1", b"inner", b"plain"]
        file["a_1/a_1_7/kernel:0"] = np.ones(1)
        file["inner/inner/b/kernel:0"] = np.ones(1)
        file["plain/bias"] = np.ones(1)

    assert set(read(tmp_path, image(build))) == {"a_1.kernel", "b.kernel", "plain.bias"}


def test_variables_without_a_known_name_keep_their_number(tmp_path: Path) -> None:
    """They belong to a layer of an unknown class, and to a normalisation without gamma or beta."""

    def build(file: h5py.File) -> None:
        for layer, count in (("batch_normalization", 3), ("lstm", 1), ("dense_2", 2)):
            for number in range(count):
                file[f"layers/{layer}/vars/{number}"] = np.ones(1)
            file[f"layers/{layer}/vars"].attrs["name"] = layer

    norm = {f"batch_normalization.{number}" for number in range(3)}
    assert set(read(tmp_path, image(build))) == {*norm, "lstm.0", "dense_2.kernel", "dense_2.bias"}


@pytest.mark.parametrize(
    ("name", "array", "reason"),
    [
        ("a.kernel", np.ones(1, bool), "a.kernel holds bool"),
        ("kernel", np.ones(1), "is not the name of a layer"),
        ("..kernel", np.ones(1), "is not the name of a layer"),
        ("a/b.kernel", np.ones(1), "is not the name of a layer"),
    ],
)
def test_arrays_that_cannot_be_written(name: str, array: np.ndarray, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ReproError, match=reason):
        keras_file.write(tmp_path / "a.h5", {name: array})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.keras", "a.weights.h5"])
def test_extensions_of_keras_3_cannot_be_written(name: str, tmp_path: Path) -> None:
    with pytest.raises(ReproError, match=r"give a name that ends in plain \.h5"):
        keras_file.write(tmp_path / name, MODEL)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("container", CONTAINERS)
def test_truncated_or_damaged_files(container: str, tmp_path: Path) -> None:
    """Any bytes that are missing or changed give an error of one line, or arrays no larger than the file."""
    intact = CONTAINERS[container]()
    draw = np.random.default_rng(1)
    for _ in range(150):
        content = bytearray(intact)
        for offset in draw.integers(0, len(content), draw.integers(0, 4)):
            content[offset] = draw.integers(256)
        length = len(content) if draw.integers(2) else draw.integers(len(content))
        try:
            arrays = read(tmp_path, bytes(content[:length]))
        except ReproError as error:
            assert "\n" not in str(error)
        else:
            assert sum(array.nbytes for array in arrays.values()) <= len(intact)


@pytest.mark.slow
@pytest.mark.usefixtures("require_keras")
def test_keras_reads_and_writes_the_same(tmp_path: Path, run_program: Callable[..., Any]) -> None:
    """Keras saves ResNet50V2 in each container, and loads what this repository writes, by order and by name."""
    spec = find_spec("resnet50_v2_keras")
    layout = layout_named("keras", spec)
    run_program("torch", "keras_files:save", str(tmp_path))
    variables = dict(np.load(tmp_path / "variables.npz"))
    assert {name: array.shape for name, array in variables.items()} == layout.shapes(spec, keras_file.NAMES)
    for name in ("model.keras", "model.h5", "model.weights.h5"):
        assert same(keras_file.read(tmp_path / name), variables), name
    names = layout.names(spec, keras_file.NAMES)
    canonical = {
        name: layout.to_canonical(name, variables[names[name]], weight, keras_file.NAMES)
        for name, weight in spec.weights.items()
    }
    keras_file.write(tmp_path / "written.h5", layout.to_published(canonical, spec, keras_file.NAMES))
    run_program("torch", "keras_files:load", str(tmp_path), "written.h5")
