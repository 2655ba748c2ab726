"""Weight files of every kind: whose a file is, by its extension, and what is in it. No framework is needed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from repro.arrays import Arrays
from repro.errors import ReproError
from repro.interface.discovery import backend_names, native_weights
from repro.interface.native_names import NativeNames
from repro.weights import keras_file, safetensors_file

if TYPE_CHECKING:
    from repro.interface import NativeWeights


SAFETENSORS, KERAS = "safetensors", "keras"
OPTIMIZER_FILES = {".pdparams": ".pdopt"}  # of weights -> of the optimizer, where the framework keeps it beside them


@cache
def backends() -> dict[str, NativeWeights]:
    """The readers and writers of every backend's files, looked up once: that goes through all installed packages."""
    return {name: native_weights(name) for name in backend_names()}


def file_format(path: Path) -> str:
    """The name of a backend, "safetensors" or "keras". Raises ReproError for an unknown extension."""
    extensions = dict.fromkeys([f".{SAFETENSORS}"], SAFETENSORS)
    for name, files in backends().items():
        extensions |= dict.fromkeys(files.EXTENSIONS, name)
    extensions |= dict.fromkeys(keras_file.EXTENSIONS, KERAS)
    if path.is_dir():
        raise ReproError(f"{path} is a folder; give a file in it, such as the best.safetensors of a run")
    if path.suffix not in extensions:
        raise ReproError(f"{path} has none of the extensions {', '.join(extensions)}; rename it to what it holds")
    return extensions[path.suffix]


def extensions(form: str) -> tuple[str, ...]:
    """The extensions of a format's files, the usual one first."""
    if form == SAFETENSORS:
        return (f".{SAFETENSORS}",)
    return keras_file.EXTENSIONS if form == KERAS else backends()[form].EXTENSIONS


def native_names(form: str) -> NativeNames:
    """The native names and axes of a backend, or of Keras."""
    return keras_file.NAMES if form == KERAS else backends()[form].NAMES


def read_file(path: Path) -> tuple[Arrays, dict[str, str]]:
    """The arrays of a file under the names it gives them ("state_dict/conv.weight" where they are nested), and the
    metadata, which safetensors alone has. The arrays are read-only views of the file where it allows that."""
    form = file_format(path)
    if form == SAFETENSORS:
        return safetensors_file.load(path)
    return (keras_file if form == KERAS else backends()[form]).read(path), {}


def optimizer_file(path: Path) -> Path | None:
    """The file of the optimizer beside the weights in `path`, if there is one."""
    beside = path.with_suffix(OPTIMIZER_FILES.get(path.suffix, path.suffix))
    return beside if beside != path and beside.is_file() else None


def read_optimizer(path: Path, beside: Path) -> Arrays:
    """The arrays of `beside`, the optimizer_file of `path`, as "optimizer/SLOT/NAME" with the names of `path`."""
    return backends()[file_format(path)].read(beside)


def write_file(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Writes arrays under names of the file's format, whole or not at all; only safetensors keeps the metadata."""
    form = file_format(path)
    if form == SAFETENSORS:
        safetensors_file.save(path, arrays, metadata)
    else:
        (keras_file if form == KERAS else backends()[form]).write(path, arrays)
