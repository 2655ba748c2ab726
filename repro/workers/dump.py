"""A model on another machine: a worker's answers are written to a file there, and read in its place here.

The file is a safetensors file, with the arrays of all answers, and JSON in its metadata. It is not trusted.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np

from repro.arrays import Arrays
from repro.errors import ReproError
from repro.interface.discovery import SHIPPED
from repro.specs import WeightKind
from repro.untrusted import printable
from repro.weights import safetensors_file
from repro.workers.client import Worker, WorkerError

FORMAT = "repro.parity dump 1"
MAX_TEXT = 300


@dataclass(frozen=True)
class Dump:
    """The answers of a worker that ran a user model.

    label: the worker's, such as torch; source: "MODULE:FUNCTION"; version: the framework's; settings: those of the
    comparison, such as its inputs; inputs: those of the first pass by name; answers: key of a request -> JSON result
    and arrays.
    """

    label: str
    source: str
    version: str
    settings: dict[str, Any]
    inputs: Arrays = field(repr=False)
    answers: dict[str, tuple[Any, Arrays]] = field(repr=False)

    def write(self, path: Path) -> None:
        """Write a safetensors file, whole or not at all."""
        arrays = {
            f"{index}/{name}": np.ascontiguousarray(array)
            for index, (_, of_answer) in enumerate(self.answers.values())
            for name, array in of_answer.items()
        }
        arrays |= {f"inputs/{name}": array for name, array in self.inputs.items()}
        content = {
            "format": FORMAT,
            "label": self.label,
            "source": self.source,
            "version": self.version,
            "settings": self.settings,
            "answers": [[key, result] for key, (result, _) in self.answers.items()],
        }
        safetensors_file.save(path, arrays, {"repro": json.dumps(content)})

    @classmethod
    def read(cls, path: Path) -> Dump:
        """Read a file of `write`. Raises ReproError for anything else, and for sizes that the file does not have."""
        arrays, metadata = safetensors_file.load(path)
        try:
            content = json.loads(metadata.get("repro", "null"))
            if not isinstance(content, dict) or content.get("format") != FORMAT:
                raise ReproError(f"{path} is not a file of --dump")
            of_answers: dict[str, Arrays] = {}
            for name, array in arrays.items():
                index, _, own_name = name.partition("/")
                of_answers.setdefault(index, {})[own_name] = array
            answers = {}
            for number, (key, result) in enumerate(content["answers"]):
                answers[str(key)] = (result, of_answers.get(str(number), {}))
            label, source, version = texts = [content[name] for name in ("label", "source", "version")]
            if not all(isinstance(text, str) and text == printable(text) for text in texts):
                raise ValueError("its label, source or version is not a text")
            if label not in SHIPPED or not isinstance(content["settings"], dict):
                raise ValueError("its label or settings are wrong")
            _check_description(answers)
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise ReproError(f"{path} is a damaged file of --dump ({printable(str(error))}); write it again") from error
        return cls(label, source, version, content["settings"], of_answers.get("inputs", {}), answers)


def _check_description(answers: Mapping[str, tuple[Any, Arrays]]) -> None:
    """Raise ValueError unless the description of the model fits its arrays, so that no size is believed."""
    description, _ = answers[_request_key("create_user_model", {}, {})]
    _, weights = answers[_request_key("share_names", {}, {})]
    for name, shape, kind, groups, layer, trained, aliases in description["weights"]:
        is_text = all(isinstance(text, str) and len(text) <= MAX_TEXT for text in (name, layer, *aliases))
        if not (is_text and kind in get_args(WeightKind) and type(groups) is int and isinstance(trained, bool)):
            raise ValueError("the description of a weight is damaged")
        if name not in weights or list(weights[name].shape) != shape:
            raise ValueError("a weight does not have the shape that it claims")
    if not isinstance(description["momentum"], (int, float)):
        raise ValueError("the momentum is not a number")
    for path, module in description["modules"].items():
        type_name, training, settings, geometry, text = module
        texts = (path, type_name, text, *geometry.values())
        if not all(isinstance(item, str) for item in texts) or not isinstance(training, bool):
            raise ValueError("the description of a module is damaged")
        if not all(value is None or isinstance(value, (str, int, float)) for value in settings.values()):
            raise ValueError("the settings of a module are damaged")
    for result, arrays in answers.values():
        if arrays and result is not None and sorted(result) != sorted(arrays):
            raise ValueError("the results of a computation are not its arrays")


def _request_key(request: str, details: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    """The key of a request, by all that its answer depends on.

    The model is the same in the whole file, and names are chosen where the answers are read.
    """
    known = {} if request in ("create_user_model", "share_names") else dict(details)
    digest = hashlib.sha256(json.dumps([request, known], sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _load(path: str | None) -> Arrays:
    return safetensors_file.load(path)[0] if path else {}


class RecordingWorker(Worker):
    """A worker whose answers are kept for a dump."""

    def __init__(self, backend: str):
        self.answers: dict[str, tuple[Any, Arrays]] = {}
        self._key = ""
        super().__init__(backend)

    def _send(self, request: str, details: dict[str, Any], arrays_path: str | None) -> None:
        self._key = _request_key(request, details, _load(arrays_path))
        super()._send(request, details, arrays_path)

    def _receive(self, request: str) -> tuple[Any, Arrays]:
        result, arrays = super()._receive(request)
        if self._key:
            self.answers[self._key] = result, {name: np.array(array) for name, array in arrays.items()}
        return result, arrays


class DumpedWorker(Worker):
    """A worker that answers from a dump, and runs no process."""

    answers_everything = False

    def __init__(self, dump: Dump, path: Path):
        """path: that of the dump, for messages."""
        self.dump, self.path = dump, path
        self.label, self.backend, self.version = dump.label, dump.label, dump.version
        self.results: set[str] = set()
        reason, _ = dump.answers.get(_request_key("check_float64", {}, dump.inputs), ("it was not tried", {}))
        self.has_float64 = not reason
        self._pending: tuple[dict[str, Any], str | None] = {}, None
        self._temporary_folder = tempfile.TemporaryDirectory(prefix="repro-dump-")
        self.folder = Path(self._temporary_folder.name)

    def ensure_running(self, threads: int = 1) -> None:
        """Do nothing, as there is no process."""

    def close(self) -> None:
        """Remove the folder of requests."""
        self._temporary_folder.cleanup()

    def _send(self, request: str, details: dict[str, Any], arrays_path: str | None) -> None:
        self._pending = details, arrays_path

    def _receive(self, request: str) -> tuple[Any, Arrays]:
        details, arrays_path = self._pending
        if details.get("float64") and not self.has_float64:
            return None, {}
        key = _request_key(request, details, _load(arrays_path))
        if key not in self.dump.answers:
            raise WorkerError(
                self.label,
                f"{self.path} has no answer to {request!r} with these inputs and weights; write it again with this "
                "version of repro, and with the same --rungs and --seeds",
            )
        result, arrays = self.dump.answers[key]
        if request == "share_names":
            self.results = set(details["results"])
        elif request == "forward" and self.results and result is not None:
            arrays = {name: array for name, array in arrays.items() if name in self.results}
            result = [name for name in result if name in self.results]
        return result, arrays
