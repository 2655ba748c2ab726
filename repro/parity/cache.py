"""Records of earlier runs, which are valid until anything changes that they depend on.

There is one file per variant, rung, seed and set of backends, so a newer result replaces the older one and the folder
does not grow. A digest in it covers everything that the result depends on: the spec, every file that computing it may
execute, and versions. Divergences are never stored, because somebody will look at them again.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import math
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
from repro.files import user_cache, write_text
from repro.interface.discovery import module_name
from repro.parity.modes import backend_of_column, columns_on
from repro.parity.record import Record
from repro.specs import CATALOGUE, Spec, find_spec
from repro.workers.client import interpreter

ROOT = Path(repro.__path__[0])
ENTRY_POINTS = (
    ROOT / "parity/ladder.py",
    ROOT / "workers/serve.py",
    ROOT / "workers/rank.py",
)  # modules that start the comparison, the worker and its ranks
LIBRARY = ROOT / "parity/library.py"  # compares user models, which are not cached; its package imports it
# Whatever reading a damaged file, or one that this module did not write, may raise
UNREADABLE = (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)


def cache_folder() -> Path:
    """The folder of the records, in the user's cache."""
    return user_cache("parity")


class RecordCache:
    """The records of earlier runs with a set of backends."""

    def __init__(self, versions: Mapping[str, str], *, fresh: bool = False):
        """versions: backend -> version of its framework; fresh: find nothing, but store new records."""
        self.folder, self.versions, self.fresh = cache_folder(), versions, fresh
        self.digests: dict[str, str | None] = {}
        self.failure = ""  # the first reason why records could not be stored

    def load(self, model: str, rung: int, seed: int) -> list[Record]:
        """A record of each backend, or an empty list where there are no valid records."""
        digest = None if self.fresh else self.digest(model)
        if digest is None:
            return []
        try:
            entry = json.loads(self._path(model, rung, seed).read_bytes())
            if entry["digest"] == digest:
                return _parse_records(entry["records"], model, rung, columns_on(rung, self.versions))
        except UNREADABLE:
            pass  # the records are computed and stored again
        return []

    def store(self, records: Sequence[Record], seed: int) -> None:
        """Store the records of one variant and rung, unless one of them diverges."""
        model, rung = records[0].model, records[0].rung
        digest = self.digest(model)
        if self.failure or digest is None or any(record.diverges for record in records):
            return
        entry = {"digest": digest, "records": [asdict(record) for record in records]}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_text(self._path(model, rung, seed), json.dumps(entry, separators=(",", ":"), allow_nan=False))
        except (OSError, ReproError) as error:
            self.failure = str(error)

    def _path(self, model: str, rung: int, seed: int) -> Path:
        names = "+".join(quote(name, safe="") for name in self.versions)
        return self.folder / f"{model}.{rung}.{seed}.{names}.json"

    def digest(self, model: str) -> str | None:
        """The digest of everything that records depend on; None where a backend's code cannot be found from here."""
        if model not in self.digests:
            self.digests[model] = self._compute_digest(model)
        return self.digests[model]

    def _compute_digest(self, model: str) -> str | None:
        spec = find_spec(model)
        backends = {column: backend_of_column(column) for column in self.versions}
        files = [code_digests(module_name(backend), _family_file(spec)) for backend in backends.values()]
        if not all(files):
            return None
        inputs: list[Any] = [repr(spec), sys.version, np.__version__, platform.machine(), files]
        inputs += [[column, version, interpreter(backends[column])] for column, version in self.versions.items()]
        return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()


@cache
def code_digests(module: str, family_file: str) -> dict[str, str]:
    """The digest of each file that comparing a variant of a family on a backend may execute.

    These are the files of the backend, and those that they, the ladder and the worker import of `repro`, without files
    of other families and without the catalogue, whose whole effect is the spec. Empty where the backend cannot be
    found from this process.
    """
    try:
        module_spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # the package that contains it is missing, or another one shadows it
        return {}
    if module_spec is None or not module_spec.origin:
        return {}
    folders = module_spec.submodule_search_locations or []
    backend_files = [path for folder in folders for path in Path(folder).rglob("*.py")] or [Path(module_spec.origin)]
    unrelated = _family_files() - {family_file} | {"catalogue"}
    digests: dict[str, str] = {}
    queue = [*ENTRY_POINTS, *backend_files]
    while queue:
        path = queue.pop()
        is_unrelated = path == LIBRARY or (path.parent.name in {"models", "specs"} and path.stem in unrelated)
        if str(path) not in digests and not is_unrelated:
            digests[str(path)], imported = _read_source(path)
            queue += imported
    return dict(sorted(digests.items()))


@cache
def _read_source(path: Path) -> tuple[str, list[Path]]:
    """The digest of a file, and the files of `repro` that it imports."""
    source = path.read_bytes()
    imported = [file for name in _imported_names(ast.parse(source)) for file in _files_of(name)]
    return hashlib.sha256(source).hexdigest(), imported


def _imported_names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _files_of(name: str) -> Iterator[Path]:
    """The files of a module of `repro`, or of the module of a name, and of the packages around it."""
    top, *rest = name.split(".")
    if top == "repro":
        for depth in range(len(rest) + 1):
            base = ROOT.joinpath(*rest[:depth])
            yield from (path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file())


@cache
def _family_files() -> set[str]:
    """The names, without suffix, of the families' files in repro/specs and backends/X/models."""
    return {_family_file(find_spec(name)) for name in CATALOGUE}


def _family_file(spec: Spec) -> str:
    return type(spec).__module__.rpartition(".")[2]


def _parse_records(rows: Any, model: str, rung: int, backends: list[str]) -> list[Record]:
    """Records as RecordCache.store wrote them. Raises one of UNREADABLE for anything that it would not have written."""
    records = [
        Record(**row | {"profile": [tuple(point) for point in row["profile"]]}
               | {name: tuple(row[name]) for name in ("causes", "unproved")})
        for row in rows
    ]  # fmt: skip
    for record in records:
        texts = (record.reference, record.where, record.reason, *(where for where, _, _ in record.profile),
                 *record.unproved)  # fmt: skip
        numbers = [
            (record.max_error, record.tolerance),
            *((error, tolerance) for _, error, tolerance in record.profile),
        ]
        if not (
            (record.model, record.rung) == (model, rung) and type(record.rung) is int
            and record.verdict in ("equal", "rounding") and not record.causes
            and all(isinstance(text, str) for text in texts)
            and all((error is None or _is_magnitude(error)) and _is_magnitude(limit) for error, limit in numbers)
        ):  # fmt: skip
            raise ValueError(record)
    if [record.backend for record in records] != backends:
        raise ValueError(backends)
    return records


def _is_magnitude(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and value >= 0  # type: ignore[arg-type,operator]
