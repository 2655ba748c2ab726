"""Keras's weight files without Keras or TensorFlow. All are HDF5, with one variable in one dataset:

- legacy .h5, of Keras 2 and of keras.applications: "layer/layer/kernel:0", in a file of a whole model below
  "model_weights"; Keras 3 leaves the ":0" away;
- .weights.h5 of Keras 3: "layers/conv2d_1/vars/0", which counts layers by their class and variables by their order; the
  layer's own name is an attribute of "vars", or missing where an early release wrote the file;
- .keras: a zip of such a file and config.json, which names the layers.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from repro.arrays import Arrays
from repro.errors import ReproError
from repro.files import replacing
from repro.interface.native_names import NativeNames
from repro.untrusted import LONGEST_NAME, checked_name, dtype_names, map_file, reading
from repro.weights.hdf5 import NUMBERS, check_hdf5, datasets, has_hard_link, stored_array

NAMES = NativeNames(
    {
        "conv": "kernel", "linear": "kernel", "bias": "bias", "norm_scale": "gamma", "norm_shift": "beta",
        "norm_mean": "moving_mean", "norm_var": "moving_variance",
    },
    axes={"conv": (2, 3, 1, 0), "linear": (1, 0)},
)  # fmt: skip
EXTENSIONS = (".h5", ".keras")

NORM = ("gamma", "beta", "moving_mean", "moving_variance")
VARIABLES = {"conv2d": ("kernel", "bias"), "dense": ("kernel", "bias"), "batch_normalization": NORM}  # Keras 3's order
ORDER = ("kernel", "bias", *NORM)  # within a layer
KERAS_2_LAYERS = "_layer_checkpoint_dependencies"  # what the first .keras files have in place of "layers"
LARGEST_CONFIG = 2**26  # bytes; 180 kB describe ResNet50V2


def read(path: Path) -> Arrays:
    """The variables by "layer.variable" ("conv1_conv.kernel"), as views of the file; those of an optimizer are left
    out, and variables of layers that this module does not know keep their numbers ("embedding.0").

    Raises ReproError for damage, and for compressed, linked or nameless contents.
    """
    path = Path(path)
    with reading(path, "a Keras .h5 or .keras file"):
        data, config = map_file(path), None
        source: Path | io.BytesIO = path
        if data[:2] == b"PK":
            weights, config = _unpacked(path, len(data))
            data, source = memoryview(weights), io.BytesIO(weights)
        check_hdf5(data)
        try:
            with h5py.File(source, "r") as file:
                return _arrays(file, data, config)
        except RuntimeError as error:  # with which h5py reports much of what is wrong with a file
            raise ValueError(str(error)) from error


def _unpacked(path: Path, size: int) -> tuple[bytes, object]:
    """The weights in a .keras file and its parsed config.json."""
    with zipfile.ZipFile(path) as archive:
        for name in ("model.weights.h5", "config.json"):
            if name not in archive.namelist():
                raise ValueError(f"the zip has no {name}, so that Keras did not write it")
            entry = archive.getinfo(name)
            if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
                raise ValueError("the zip is compressed or encrypted, which Keras never does")
            if entry.file_size > (size if name == "model.weights.h5" else LARGEST_CONFIG):
                raise ValueError(f"{name} is too large")
        return archive.read("model.weights.h5"), json.loads(archive.read("config.json"))


def _arrays(file: h5py.File, data: memoryview, config: object) -> Arrays:
    legacy = file["model_weights"] if has_hard_link(file, "model_weights") else file
    if isinstance(legacy, h5py.Group) and {"layer_names", "layer_names0"} & set(legacy.attrs):
        named = _legacy(legacy)
    elif has_hard_link(file, "layers") or has_hard_link(file, KERAS_2_LAYERS):
        named = _numbered(file, _config_names(config))
    else:
        raise ValueError("it has no list of layers, so that Keras did not write it")
    arrays: Arrays = {}
    for name, dataset in named:
        if checked_name(name) in arrays:
            raise ValueError(f"the name {name!r} is there twice")
        arrays[name] = stored_array(name, dataset, data)
    if not arrays:
        raise ValueError("it holds no arrays")
    return arrays


def _legacy(root: h5py.Group) -> Iterator[tuple[str, h5py.Dataset]]:
    """The layer is the last scope of a variable's name: of a model inside the model, it is the inner layer. TensorFlow
    numbers a scope that it has seen before ("conv_1/kernel:0"); the group then has the layer's own name."""
    for path, _, dataset in datasets(root):
        *scopes, leaf = path
        if not scopes:
            raise ValueError(f"{leaf!r:.80} belongs to no layer")
        layer = scopes[0] if re.sub(r"_\d+$", "", scopes[-1]) == scopes[0] else scopes[-1]
        yield f"{layer}.{leaf.partition(':')[0]}", dataset


def _numbered(root: h5py.Group, config_names: dict[str, str]) -> Iterator[tuple[str, h5py.Dataset]]:
    for path, group, dataset in datasets(root):
        if len(path) < 3 or path[-2] != "vars":
            raise ValueError(f"{'/'.join(path)!r:.80} is no variable of a layer")
        *layers, _, number = path
        place = "/".join(layers).replace(KERAS_2_LAYERS, "layers")
        layer = config_names.get(place) or _name_attribute(group)
        if layer is None:
            raise ValueError(f"it does not name the layer {place!r:.80}; save the model as .keras or in the legacy .h5")
        leaves = VARIABLES.get(re.sub(r"_\d+$", "", layers[-1]), ())
        if leaves == NORM and len(group) < len(NORM):  # without gamma or beta the others move up
            leaves = ()
        yield f"{layer}.{dict(zip('0123', leaves, strict=False)).get(number, number)}", dataset


def _name_attribute(group: h5py.Group) -> str | None:
    """The attribute "name", where it is one short text."""
    if "name" not in group.attrs:
        return None
    attribute = group.attrs.get_id("name")
    if not h5py.check_string_dtype(attribute.dtype) or attribute.shape != () or attribute.dtype.itemsize > LONGEST_NAME:
        raise ValueError("the name of a layer is no text")
    name = group.attrs["name"]
    return checked_name(name if isinstance(name, str) else str(bytes(name), "utf-8"))


def _config_names(model: Any, prefix: str = "layers") -> dict[str, str]:
    """Where Keras 3 puts a layer of the model that config.json describes -> the layer's name."""
    config = model["config"] if model else {}
    if not isinstance(config, dict):
        raise ValueError("its config.json describes no model")
    found: dict[str, str] = {}
    used: dict[str, int] = {}
    for layer in config.get("layers", ()):
        word = re.sub(r"(?<=.)(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z])", "_", layer["class_name"]).lower()
        used[word] = used.get(word, -1) + 1
        place = f"{prefix}/{word}_{used[word]}" if used[word] else f"{prefix}/{word}"
        found[place] = str(layer["config"]["name"])
        found |= _config_names(layer, f"{place}/layers")
    return found


def write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """A legacy .h5 of weights, which load_weights of Keras 2 and 3 takes, with and without by_name=True.

    Raises ReproError for an extension that stands for another layout, for names other than "layer.variable", for a
    type that the file cannot hold, and where `path` cannot be written.
    """
    path = Path(path)
    if path.name.endswith((".keras", ".weights.h5")):
        raise ReproError(f"{path} would be taken for a layout of Keras 3; give a name that ends with plain .h5")
    dtype_names(arrays, NUMBERS, ".h5")
    layers: dict[str, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        layer, _, leaf = name.rpartition(".")
        if not layer.strip(".") or not leaf or re.search("[/:\0]", name):
            raise ReproError(f"{name!r} does not name a layer and its variable, as a Keras file does")
        layers.setdefault(layer, {})[leaf] = array
    with replacing(path) as temporary, temporary.open("wb") as file:
        image = io.BytesIO()  # in memory, because HDF5 does not recover from a disk that is full
        with h5py.File(image, "w") as root:
            _fill(root, layers)
        file.write(image.getbuffer())


def _fill(root: h5py.File, layers: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    # texts of a fixed length: h5py reads others as str, on which an older Keras 2 would call decode
    root.attrs["backend"] = np.bytes_("tensorflow")
    root.attrs["keras_version"] = np.bytes_("2.2.4")  # Keras turns the weights of release 1
    root.attrs["layer_names"] = np.array([layer.encode() for layer in _as_in_the_model(list(layers))], dtype=bytes)
    for layer, variables in layers.items():
        group = root.create_group(layer)
        leaves = sorted(variables, key=lambda leaf: ORDER.index(leaf) if leaf in ORDER else len(ORDER))
        group.attrs["weight_names"] = np.array([f"{layer}/{leaf}:0".encode() for leaf in leaves])
        for leaf in leaves:
            array = variables[leaf]
            group.create_dataset(f"{layer}/{leaf}:0", data=np.asarray(array, array.dtype.newbyteorder("<"), order="C"))


def _as_in_the_model(layers: list[str]) -> list[str]:
    """Keras loads by the order of the model's layers, which go by their depth: in keras.applications a block's
    shortcut, "block_0_conv", stands ahead of its last convolution, "block_3_conv"."""
    ends = {layer.removesuffix("_3_conv"): layer for layer in layers if layer.endswith("_3_conv")}
    shortcuts = {layer.removesuffix("_0_conv"): layer for layer in layers if layer.endswith("_0_conv")}
    moved = {ends[block]: shortcut for block, shortcut in shortcuts.items() if block in ends}
    rest = (layer for layer in layers if layer not in moved.values())
    return [name for layer in rest for name in ([moved[layer], layer] if layer in moved else [layer])]
