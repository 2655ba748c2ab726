"""The canonical file: safetensors, with where the weights came from in its metadata."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from repro.errors import ReproError
from repro.files import replacing

Arrays = dict[str, np.ndarray]


def save(path: str | Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> None:
    """Writes arrays and text metadata, whole or not at all."""
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    with replacing(path) as temporary:
        try:
            save_file(contiguous, temporary, metadata=dict(metadata or {}))
        except SafetensorError as error:  # its writer reports a full disk this way
            raise OSError(None, str(error)) from error


def load(path: str | Path) -> tuple[Arrays, dict[str, str]]:
    """Arrays and metadata. Raises ReproError for a missing, cut short or damaged file."""
    path = Path(path)
    if not path.is_file():
        raise ReproError(f"no such file: {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        raise ReproError(
            f"{path} is not a whole safetensors file ({error}); is it another format, or cut short?"
        ) from error
