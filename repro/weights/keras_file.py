"""Keras's weight files, read and written without Keras or TensorFlow. All are HDF5, with one dataset per variable:

- legacy .h5, of Keras 2 and of keras.applications: "layer/layer/kernel:0", under "model_weights" in a file of a whole
  model; Keras 3 omits the ":0";
- .weights.h5, of Keras 3: "layers/conv2d_1/vars/0", with layers numbered per class and variables by their order; the
  layer's name is an attribute of "vars", which early releases did not write;
- .keras: a zip of such a file and of config.json, which names the layers.
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
from repro.weights.hdf5 import DTYPES, check_hdf5, datasets, has_hard_link, stored_array

NAMES = NativeNames(
    {
        "conv": "kernel", "linear": "kernel", "bias": "bias", "norm_scale": "gamma", "norm_shift": "beta",
        "norm_mean": "moving_mean", "norm_var": "moving_variance",
    },
    axes={"conv": (2, 3, 1, 0), "linear": (1, 0)},
    depthwise_axes=(2, 3, 0, 1),
)  # fmt: skip
EXTENSIONS = (".h5", ".keras")

NORM = ("gamma", "beta", "moving_mean", "moving_variance")
VARIABLES = {  # class -> the names of its variables in Keras 3's order
    **dict.fromkeys(("conv2d", "depthwise_conv2d", "dense"), ("kernel", "bias")),
    "batch_normalization": NORM,
}
ORDER = ("kernel", "bias", *NORM)  # order of the variables in a layer
KERAS_2_LAYERS = "_layer_checkpoint_dependencies"  # the group "layers" in the first .keras files
MAX_CONFIG_BYTES = 2**26  # the config of ResNet50V2 has 180 kB


def read(path: Path) -> Arrays:
    """Return the variables as "layer.variable" ("conv1_conv.kernel") -> array, as views of the file.

    The optimizer's are left out. Variables of layers of an unknown class keep their numbers ("embedding.0").
    Raises ReproError for a damaged file, and for compressed, linked or nameless contents.
    """
    path = Path(path)
    with reading(path, "a Keras .h5 or .keras file"):
        data, config = map_file(path), None
        source: Path | io.BytesIO = path
        if data[:2] == b"PK":
            weights, config = _unpack(path, len(data))
            data, source = memoryview(weights), io.BytesIO(weights)
        check_hdf5(data)
        try:
            with h5py.File(source, "r") as file:
                return _arrays(file, data, config)
        except RuntimeError as error:  # h5py raises it for many kinds of damage
            raise ValueError(str(error)) from error


def _unpack(path: Path, file_size: int) -> tuple[bytes, object]:
    """Return the bytes of model.weights.h5 in a .keras file, and its parsed config.json."""
    with zipfile.ZipFile(path) as archive:
        for name in ("model.weights.h5", "config.json"):
            if name not in archive.namelist():
                raise ValueError(f"the zip has no {name}, so Keras did not write it")
            entry = archive.getinfo(name)
            if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
                raise ValueError("the zip is compressed or encrypted, which Keras never does")
            if entry.file_size > (file_size if name == "model.weights.h5" else MAX_CONFIG_BYTES):
                raise ValueError(f"{name} is too large")
        return archive.read("model.weights.h5"), json.loads(archive.read("config.json"))


def _arrays(file: h5py.File, data: memoryview, config: object) -> Arrays:
    """Return the arrays of an open file, as views of its bytes `data`."""
    legacy = file["model_weights"] if has_hard_link(file, "model_weights") else file
    if isinstance(legacy, h5py.Group) and {"layer_names", "layer_names0"} & set(legacy.attrs):
        named = _legacy(legacy)
    elif has_hard_link(file, "layers") or has_hard_link(file, KERAS_2_LAYERS):
        named = _numbered(file, _config_names(config))
    else:
        raise ValueError("it has no list of layers, so Keras did not write it")
    arrays: Arrays = {}
    for name, dataset in named:
        if checked_name(name) in arrays:
            raise ValueError(f"the name {name!r} occurs twice")
        arrays[name] = stored_array(name, dataset, data)
    if not arrays:
        raise ValueError("it holds no arrays")
    return arrays


def _legacy(root: h5py.Group) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yield "layer.variable" and dataset of every variable of a legacy file.

    A layer's group contains the scopes of its variables, which in a model inside the model are those of the inner
    layers. TensorFlow numbers a scope that it has seen before ("conv_1/kernel:0"); the group then has the layer's own
    name. Keras 2 permits slashes in it ("conv1/bn").
    """
    variables: list[tuple[str, str, h5py.Dataset]] = []
    for path, _, dataset in datasets(root):
        *scopes, leaf = path
        if not scopes:
            raise ValueError(f"{leaf!r:.80} belongs to no layer")
        depth = max([n for n in range(1, len(path)) if "weight_names" in root["/".join(path[:n])].attrs] or [1])
        group, scope = "/".join(scopes[:depth]), "/".join(scopes[depth:])
        layer = f"/{scope}".rpartition(f"/{group}/")[2].removeprefix("/")  # without the model that contains it
        if not layer or f"/{layer}".endswith(f"/{group}") or re.sub(r"_\d+$", "", layer) == group:
            layer = group
        variable = leaf.partition(":")[0]
        variables.append((layer, "kernel" if variable == "depthwise_kernel" else variable, dataset))
    is_mobilenet_v3 = any(layer == "Conv/BatchNorm" for layer, *_ in variables)
    for layer, variable, dataset in variables:
        name = layer.replace("/", "_")
        if is_mobilenet_v3:  # Keras 3 calls its layers otherwise
            name = name.replace("BatchNorm", "bn").lower()
        yield f"{name}.{variable}", dataset


def _numbered(root: h5py.Group, config_names: dict[str, str]) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yield "layer.variable" and dataset of every variable of a Keras 3 file.

    config_names: path of a layer's group -> the layer's name.
    """
    for path, group, dataset in datasets(root):
        if len(path) < 3 or path[-2] != "vars":
            raise ValueError(f"{'/'.join(path)!r:.80} is not a variable of a layer")
        *layers, _, number = path
        if layers[-1] == "seed_generator":  # that of a dropout or an augmentation
            continue
        layer_path = "/".join(layers).replace(KERAS_2_LAYERS, "layers")
        layer = config_names.get(layer_path) or _name_attribute(group)
        if layer is None:
            raise ValueError(f"it does not name the layer {layer_path!r:.80}; save it as .keras or as a legacy .h5")
        leaves = VARIABLES.get(re.sub(r"_\d+$", "", layers[-1]), ())
        if leaves == NORM and len(group) < len(NORM):  # without gamma or beta, the numbers of the others change
            leaves = ()
        yield f"{layer}.{dict(zip('0123', leaves, strict=False)).get(number, number)}", dataset


def _name_attribute(group: h5py.Group) -> str | None:
    """Return the attribute "name", or None. Raises ValueError where it is not a short string."""
    if "name" not in group.attrs:
        return None
    attribute = group.attrs.get_id("name")
    if not h5py.check_string_dtype(attribute.dtype) or attribute.shape != () or attribute.dtype.itemsize > LONGEST_NAME:
        raise ValueError("the name of a layer is not a short string")
    name = group.attrs["name"]
    return checked_name(name if isinstance(name, str) else str(bytes(name), "utf-8"))


def _config_names(model: Any, prefix: str = "layers") -> dict[str, str]:
    """Return path of a layer's group in a Keras 3 file -> the layer's name, from the model in config.json."""
    config = model["config"] if model else {}
    if not isinstance(config, dict):
        raise ValueError("its config.json does not describe a model")
    names: dict[str, str] = {}
    counts: dict[str, int] = {}
    for layer in config.get("layers", ()):
        word = re.sub(r"(?<=.)(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z])", "_", layer["class_name"]).lower()
        number = counts.get(word, 0)
        counts[word] = number + 1
        path = f"{prefix}/{word}_{number}" if number else f"{prefix}/{word}"
        names[path] = str(layer["config"]["name"])
        names |= _config_names(layer, f"{path}/layers")
    return names


def write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a legacy .h5 file of weights, which load_weights of Keras 2 and 3 reads, with and without by_name=True.

    Raises ReproError for an extension of another format, for names other than "layer.variable", for a dtype that HDF5
    lacks, and where `path` cannot be written.
    """
    path = Path(path)
    if path.name.endswith((".keras", ".weights.h5")):
        raise ReproError(f"{path} has an extension of Keras 3; give a name that ends in plain .h5")
    dtype_names(arrays, DTYPES, ".h5")
    layers: dict[str, Arrays] = {}
    for name, array in arrays.items():
        layer, _, leaf = name.rpartition(".")
        if not layer.strip(".") or not leaf or re.search("[/:\0]", name):
            raise ReproError(f"{name!r} is not the name of a layer and its variable, as Keras files have")
        layers.setdefault(layer, {})[leaf] = array
    with replacing(path) as temporary, temporary.open("wb") as file:
        image = io.BytesIO()  # in memory, because HDF5 does not recover from a full disk
        with h5py.File(image, "w") as root:
            _fill(root, layers)
        file.write(image.getbuffer())


def _fill(root: h5py.File, layers: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Write the datasets and attributes of layer -> variable -> array."""
    # strings of a fixed length: h5py reads others as str, on which older releases of Keras 2 call decode
    root.attrs["backend"] = np.bytes_("tensorflow")
    root.attrs["keras_version"] = np.bytes_("2.2.4")  # Keras transposes the weights of release 1
    root.attrs["layer_names"] = np.array([layer.encode() for layer in _in_model_order(list(layers))], dtype=bytes)
    for layer, variables in layers.items():
        group = root.create_group(layer)
        leaves = sorted(variables, key=lambda leaf: ORDER.index(leaf) if leaf in ORDER else len(ORDER))
        group.attrs["weight_names"] = np.array([f"{layer}/{leaf}:0".encode() for leaf in leaves])
        for leaf in leaves:
            array = variables[leaf]
            group.create_dataset(f"{layer}/{leaf}:0", data=np.asarray(array, array.dtype.newbyteorder("<"), order="C"))


def _in_model_order(layers: list[str]) -> list[str]:
    """Return the layers in the order of Keras's model, by which load_weights assigns them.

    Layers are ordered by depth: in keras.applications, the shortcut of a block, "block_0_conv" and "block_0_bn", comes
    right before its last convolution and normalisation, "block_3_conv" and "block_3_bn".
    """
    shortcuts = [layer for layer in layers if layer.endswith(("_0_conv", "_0_bn"))]
    ends = {re.sub(r"_0_(\w+)$", r"_3_\1", layer): layer for layer in shortcuts}
    moved = {end: shortcut for end, shortcut in ends.items() if end in layers}
    rest = (layer for layer in layers if layer not in moved.values())
    return [name for layer in rest for name in ([moved[layer], layer] if layer in moved else [layer])]
