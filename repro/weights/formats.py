"""Weight files of every kind: the format of a file, and its arrays. No framework is needed.

The format of a file to read follows from its content, and that of a file to write from its extension.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from repro.arrays import Arrays
from repro.errors import ReproError
from repro.interface.discovery import SHIPPED, backend_names, native_weights
from repro.interface.native_names import NativeNames
from repro.untrusted import printable
from repro.weights import keras_file, npz_file, safetensors_file
from repro.weights.content import TENSORFLOW, Content, recognise_content
from repro.weights.shards import check_not_a_shard, index_in, weight_map, whole_file_in

if TYPE_CHECKING:
    from repro.interface import NativeWeights


SAFETENSORS, KERAS = "safetensors", "keras"
OPTIMIZER_FILES = {".pdparams": ".pdopt"}  # extension of the weights -> extension of the optimizer's file


@cache
def backends() -> dict[str, NativeWeights]:
    """Return the readers and writers of every backend's files, cached because discovery goes through all packages."""
    return {name: native_weights(name) for name in backend_names()}


def file_format(path: Path) -> str:
    """Return the format of a file to write, by its extension: the name of a backend, "safetensors" or "keras".

    Raises ReproError for an unknown extension.
    """
    formats = _formats_by_extension()
    if path.is_dir():
        raise ReproError(f"{path} is a folder; give a file in it, such as the best.safetensors of a run")
    if path.suffix not in formats:
        raise ReproError(f"{path} needs one of the extensions {', '.join(formats)}")
    return formats[path.suffix]


def source_path(path: Path) -> Path:
    """Return the file to read: in a folder from Hugging Face's hub its weights or their index, otherwise the path.

    Raises ReproError for a folder of torch.distributed.checkpoint, a SavedModel and an unpacked file of PyTorch.
    """
    if not path.is_dir():
        return path
    if any(path.glob("*.distcp")):
        command = f"python -m torch.distributed.checkpoint.format_utils dcp_to_torch {path} FILE.pth"
        raise ReproError(f"{path} is a folder of torch.distributed.checkpoint; convert it with {command}")
    if next(path.glob("data.pkl"), None) or next(path.glob("*/data.pkl"), None):
        advice = "pack it again without compression: zip -0 -r FILE.pth, with the folder that holds data.pkl"
        raise ReproError(f"{path} is an unpacked file of PyTorch; {advice}")
    if (path / "saved_model.pb").is_file():
        raise ReproError(f"{path} is {TENSORFLOW.replace('a file', 'a SavedModel')}")
    return whole_file_in(path) or index_in(path) or path


def source_format(path: Path) -> str:
    """Return the format of an existing file, by its content: the name of a backend, "safetensors" or "keras".

    The extension decides only where the content is unknown or the file is missing. NumPy's .npz files count as
    safetensors, because they too can hold any layout. Raises ReproError for a file that does not hold weights, with
    what it is.
    """
    content = _content(path)
    if content is Content.INDEX:
        path = path.parent / min(weight_map(path).values())
        content = _content(path)
    return _format_of(path, content)


def _format_of(path: Path, content: Content | None) -> str:
    """Return the format of a single file with this content. Raises ReproError for an index, and for unknown files."""
    if content is Content.INDEX:
        raise ReproError(f"{path} is an index of shards, where another index lists it as a shard")
    if content is None:
        formats = _formats_by_extension()
        if path.is_file() and path.suffix not in formats:
            raise ReproError(f"{path} is not a weight file: its content and its extension are unknown")
        return file_format(path)
    return SAFETENSORS if content is Content.NPZ else content.value


def _content(path: Path) -> Content | None:
    """Return the kind of a file that is to be read, or None where the extension decides."""
    form = _formats_by_extension().get(path.suffix)
    is_added = form is not None and form not in (SAFETENSORS, KERAS, *SHIPPED)  # by a plug-in
    return recognise_content(path) if path.is_file() and not is_added else None


def _formats_by_extension() -> dict[str, str]:
    """Return extension -> format."""
    formats = dict.fromkeys([f".{SAFETENSORS}"], SAFETENSORS)
    for name, files in backends().items():
        formats |= dict.fromkeys(files.EXTENSIONS, name)
    return formats | dict.fromkeys(keras_file.EXTENSIONS, KERAS)


def extensions(form: str) -> tuple[str, ...]:
    """Return the extensions of a format's files, the usual one first."""
    if form == SAFETENSORS:
        return (f".{SAFETENSORS}",)
    return keras_file.EXTENSIONS if form == KERAS else backends()[form].EXTENSIONS


def native_names(form: str) -> NativeNames:
    """Return the native names and axes of a backend, or of Keras."""
    return keras_file.NAMES if form == KERAS else backends()[form].NAMES


def read_file(path: Path) -> tuple[Arrays, dict[str, str]]:
    """Return the arrays of a file under the names in the file, and the metadata, which only safetensors files have.

    Nested arrays have names such as "state_dict/conv.weight". The arrays are read-only views of the file where its
    format permits. Raises ReproError for a file that cannot be read, and for one of several shards.
    """
    path = source_path(path)
    check_not_a_shard(path)
    content = _content(path)
    if content is not Content.INDEX:
        return _read_single(path, content)
    files = weight_map(path)
    arrays: Arrays = {}
    for file in sorted(set(files.values())):
        shard, _ = _read_single(path.parent / file, _content(path.parent / file))
        if unexpected := [name for name in shard if files.get(name) != file]:
            raise ReproError(f"{path.parent / file} holds {unexpected[0]}, which {path.name} does not list there")
        arrays |= shard
    if missing := [name for name in files if name not in arrays]:
        raise ReproError(f"{path} lists {printable(missing[0])}, which {printable(files[missing[0]])} does not hold")
    return arrays, {}


def _read_single(path: Path, content: Content | None) -> tuple[Arrays, dict[str, str]]:
    """Return the arrays and the metadata of a single file with this content."""
    form = _format_of(path, content)
    if form == SAFETENSORS:
        return (npz_file.read(path), {}) if content is Content.NPZ else safetensors_file.load(path)
    return (keras_file if form == KERAS else backends()[form]).read(path), {}


def optimizer_file(path: Path) -> Path | None:
    """Return the file of the optimizer next to the weights in `path`, or None."""
    optimizer = path.with_suffix(OPTIMIZER_FILES.get(path.suffix, path.suffix))
    return optimizer if optimizer != path and optimizer.is_file() else None


def read_optimizer(path: Path, optimizer: Path) -> Arrays:
    """Return the arrays of the optimizer_file of `path` as "optimizer/SLOT/NAME", with the names in `path`."""
    return backends()[file_format(path)].read(optimizer)


def write_file(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write arrays under native names, whole or not at all; only safetensors files keep the metadata."""
    form = file_format(path)
    if form == SAFETENSORS:
        safetensors_file.save(path, arrays, metadata)
    else:
        (keras_file if form == KERAS else backends()[form]).write(path, arrays)
