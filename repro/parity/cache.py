"""Results of earlier runs, kept until something changes that they depend on.

There is a file for each variant, rung, seed and set of backends, so a later result takes the place of an earlier one
and the folder does not grow. What it depends on is in a digest: the spec, every file that computing it may execute, and
versions. A divergence is never kept: it is to be looked at again.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import math
import os
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

import repro
from repro.errors import ReproError
from repro.files import write_text
from repro.interface.discovery import module_name
from repro.parity.record import Record
from repro.specs import CATALOGUE, Spec, find_spec
from repro.workers.client import interpreter

ROOT = Path(repro.__path__[0])
ENTRIES = (ROOT / "parity/ladder.py", ROOT / "workers/serve.py")  # where the comparison and the worker begin


def folder() -> Path:
    """Where results are kept, in the user's own cache."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "repro" / "parity"


class Cache:
    def __init__(self, versions: Mapping[str, str], fresh: bool = False):
        """versions: of the framework of each backend that takes part; fresh: find nothing, and keep what comes."""
        self.folder, self.versions, self.fresh = folder(), versions, fresh
        self.digests: dict[str, str | None] = {}
        self.failure = ""  # the first reason for which a result could not be kept

    def load(self, model: str, rung: int, seed: int) -> list[Record]:
        """A record for each backend; none where nothing is kept that can be believed."""
        digest = None if self.fresh else self.digest(model)
        if digest is None:
            return []
        try:
            kept = json.loads(self._path(model, rung, seed).read_bytes())
            if kept["digest"] == digest:
                return _read(kept["records"], model, rung, list(self.versions))
        except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            pass  # missing, or not of our making: computed and written anew
        return []

    def keep(self, records: Sequence[Record], seed: int) -> None:
        """The records of one variant and rung, if none diverges."""
        model, rung = records[0].model, records[0].rung
        digest = self.digest(model)
        if self.failure or digest is None or any(record.diverges for record in records):
            return
        kept = {"digest": digest, "records": [asdict(record) for record in records]}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_text(self._path(model, rung, seed), json.dumps(kept, separators=(",", ":"), allow_nan=False))
        except (OSError, ReproError) as error:
            self.failure = str(error)

    def _path(self, model: str, rung: int, seed: int) -> Path:
        names = "+".join(quote(name, safe="") for name in self.versions)
        return self.folder / f"{model}.{rung}.{seed}.{names}.json"

    def digest(self, model: str) -> str | None:
        """Of all that a result depends on; None where a backend's code is not to be seen from here."""
        if model not in self.digests:
            self.digests[model] = self._digest(model)
        return self.digests[model]

    def _digest(self, model: str) -> str | None:
        spec = find_spec(model)
        files = [code(module_name(backend), _family(spec)) for backend in self.versions]
        if not all(files):
            return None
        parts: list[Any] = [repr(spec), sys.version, np.__version__, platform.machine(), files]
        parts += [[backend, version, interpreter(backend)] for backend, version in self.versions.items()]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@cache
def code(module: str, family: str) -> dict[str, str]:
    """The digest of each file that comparing a model of the family on the backend may execute: the backend's own, and
    what these and the ladder import of `repro`. Left out are the files of other families, and the catalogue, of which
    the spec is the whole effect; {} where the backend cannot be found here."""
    found = importlib.util.find_spec(module)
    if found is None or not found.origin:
        return {}
    folders = found.submodule_search_locations
    own = [path for folder in folders for path in Path(folder).rglob("*.py")] if folders else [Path(found.origin)]
    others = _families() - {family} | {"catalogue"}
    files: dict[str, str] = {}
    waiting = [*ENTRIES, *own]
    while waiting:
        path = waiting.pop()
        if str(path) not in files and not (path.parent.name in {"models", "specs"} and path.stem in others):
            files[str(path)], imported = _look_into(path)
            waiting += imported
    return dict(sorted(files.items()))


@cache
def _look_into(path: Path) -> tuple[str, list[Path]]:
    """The digest of a file, and the files of `repro` that it imports."""
    source = path.read_bytes()
    imported = [file for name in _imports(ast.parse(source)) for file in _files(name)]
    return hashlib.sha256(source).hexdigest(), imported


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _files(name: str) -> Iterator[Path]:
    """The files of a module of `repro`, or of a name in one, and of the packages around it."""
    top, *rest = name.split(".")
    if top == "repro":
        for depth in range(len(rest) + 1):
            base = ROOT.joinpath(*rest[:depth])
            yield from (path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file())


@cache
def _families() -> set[str]:
    """The names of the files that the families have in repro/specs and in backends/X/models."""
    return {_family(find_spec(name)) for name in CATALOGUE}


def _family(spec: Spec) -> str:
    return type(spec).__module__.rpartition(".")[2]


def _read(rows: Any, model: str, rung: int, backends: list[str]) -> list[Record]:
    """Records as they were kept. Raises ValueError, TypeError or KeyError for what `keep` would not have written."""
    records = [Record(**row | {"profile": [tuple(point) for point in row["profile"]]}) for row in rows]
    for record in records:
        texts = (record.reference, record.where, record.reason, *(where for where, _, _ in record.profile))
        numbers = [(record.max_error, record.tolerance), *((error, allowed) for _, error, allowed in record.profile)]
        if not (
            (record.model, record.rung) == (model, rung) and type(record.rung) is int
            and record.verdict in ("equal", "rounding") and all(isinstance(text, str) for text in texts)
            and all((error is None or _is_size(error)) and _is_size(allowed) for error, allowed in numbers)
        ):  # fmt: skip
            raise ValueError(record)
    if [record.backend for record in records] != backends:
        raise ValueError(backends)
    return records


def _is_size(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and value >= 0  # type: ignore[arg-type,operator]
