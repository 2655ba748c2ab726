"""The mapping file of user models, which says which weights of two or three models of the same network correspond.

repro.parity writes it, the user corrects it, and repro.parity and repro.port read it.
"""

from __future__ import annotations

import reprlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, get_args

from repro.errors import ReproError, unknown
from repro.files import read_yaml, write_text
from repro.interface.discovery import SHIPPED
from repro.specs import Weight, WeightKind

MAX_FILE_BYTES = 1 << 22
WEIGHTS = "weights"  # the section next to those of the backends
HEADING = """\
# name of each weight in the model of {reference}: its name in the other model; correct it and run again
"""
WEIGHTS_HEADING = """\
# kind and canonical shape of each weight, by which repro.port converts; repro.parity keeps them up to date
"""
Names = dict[str, str | None]  # name in the reference -> name in another model, None without a counterpart


@dataclass(frozen=True)
class ModelMapping:
    """The content of a mapping file.

    names: backend -> names of the reference's weights in the model of that backend; the reference itself is left out.
    weights: backend -> canonical name in its model -> kind and canonical shape, of the reference, too; {} if the user
    wrote the file. doubts: backend -> name in the reference -> the reason to doubt the counterpart.
    """

    names: dict[str, Names]
    weights: dict[str, dict[str, Weight]] = field(default_factory=dict)
    doubts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def reference(self) -> str:
        """The backend whose model gives the names on the left, or "" where that is unclear."""
        unnamed = [backend for backend in self.weights if backend not in self.names]
        return unnamed[0] if len(unnamed) == 1 else ""


def weight_label(name: str, weight: Weight) -> str:
    """Return how messages call a weight."""
    groups = f" in {weight.groups} groups" if weight.groups > 1 else ""
    return f"{name} {weight.shape} {weight.kind}{groups}"


def mapping_errors(
    left: Mapping[str, Weight], right: Mapping[str, Weight], names: Mapping[str, str | None]
) -> Iterator[str]:
    """Yield what keeps a mapping, from names of the left model to names of the right one, from covering all weights."""
    uses = Counter(name for name in names.values() if name is not None)
    for left_name, weight in left.items():
        label, name = weight_label(left_name, weight), names.get(left_name)
        if name is None:
            yield f"{label} has no counterpart"
            continue
        counterpart = right[name]
        if counterpart.shape != weight.shape or counterpart.groups != weight.groups:
            yield f"{label} does not fit {weight_label(name, counterpart)}"
        elif counterpart.kind != weight.kind and "other" not in (counterpart.kind, weight.kind):
            yield f"{label} is of another kind than {weight_label(name, counterpart)}"
        elif uses[name] > 1:
            yield f"{label} has the same counterpart, {name}, as another weight"
    for name, weight in right.items():
        if name not in uses:
            yield f"{weight_label(name, weight)} is not the counterpart of any weight"


def check_names(
    path: Path, mapping: ModelMapping, backend: str, reference: Mapping[str, Weight], weights: Mapping[str, Weight]
) -> Names:
    """Return the names of the reference's weights in the model of `backend`, all of which exist.

    Raises ReproError for a file without names for the backend, and for the name of a weight that does not exist.
    """
    names = mapping.names.get(backend)
    if names is None:
        raise ReproError(f"{path}: {backend} must be lines of `name: counterpart`, and there are none")
    for name, counterpart in names.items():
        if name not in reference:
            raise unknown(f"weight in {path}, {backend}:", name, reference)
        if counterpart is not None and counterpart not in weights:
            raise unknown(f"weight for {name} in {path}, {backend}:", counterpart, weights)
    return names


def write_mapping(path: Path, mapping: ModelMapping) -> None:
    """Write a mapping file, with doubts as comments."""
    lines = []
    for backend, names in mapping.names.items():
        lines.append(f"{backend}:")
        doubts = mapping.doubts.get(backend, {})
        for name, counterpart in names.items():
            comment = f"  # {doubts[name]}" if doubts.get(name) else ""
            lines.append(f"  {_line(name, counterpart)}{comment}")
    text = HEADING.format(reference=mapping.reference) + "\n".join(lines) + "\n\n" + WEIGHTS_HEADING + f"{WEIGHTS}:\n"
    for backend, weights in mapping.weights.items():
        text += f"  {backend}:\n"
        for name, weight in weights.items():
            entry: dict[str, object] = {"kind": weight.kind, "shape": list(weight.shape)}
            entry |= {"groups": weight.groups} if weight.groups > 1 else {}
            text += f"    {_line(name, entry)}\n"
    write_text(path, text)


def _line(name: str, value: object) -> str:
    """Return the YAML of one key and its value on one line."""
    import yaml

    text = yaml.safe_dump({name: value}, width=1 << 20, allow_unicode=True, sort_keys=False, default_flow_style=True)
    return text.strip()[1:-1]


def read_mapping(path: Path) -> ModelMapping:
    """Read a file of write_mapping, which the user may have changed or written.

    Raises ReproError, with the key, for another kind of file.
    """
    sections = read_yaml(path, "mapping", "repro.parity --mapping writes it", MAX_FILE_BYTES)
    names: dict[str, Names] = {}
    for section, content in sections.items():
        if section == WEIGHTS:
            continue
        if section not in SHIPPED:
            raise unknown(f"key in {path}", section, [*SHIPPED, WEIGHTS])
        for name, counterpart in _lines(path, section, content, "`name: counterpart`"):
            if counterpart is not None and not isinstance(counterpart, str):
                raise ReproError(f"{path}: {section}: {name} must be a name, not {reprlib.repr(counterpart)}")
            names.setdefault(section, {})[name] = counterpart
        names.setdefault(section, {})
    weights: dict[str, dict[str, Weight]] = {}
    for backend, content in _lines(path, WEIGHTS, sections.get(WEIGHTS, {}), "a backend"):
        if backend not in SHIPPED:
            raise unknown(f"key in {path}, {WEIGHTS}:", backend, SHIPPED)
        described = _lines(path, f"{WEIGHTS}: {backend}", content, "`name: {kind: ..., shape: [...]}`")
        weights[backend] = {name: _weight(path, f"{WEIGHTS}: {backend}: {name}", entry) for name, entry in described}
    return ModelMapping(names, weights)


def _lines(path: Path, where: str, content: object, form: str) -> Iterator[tuple[str, Any]]:
    """Yield the keys and values of a section. Raises ReproError for a section or key of another type."""
    if not isinstance(content, dict):
        raise ReproError(f"{path}: {where} must be lines of {form}, not {reprlib.repr(content)}")
    for key, value in content.items():
        if not isinstance(key, str):
            raise ReproError(f"{path}: {where}: {reprlib.repr(key)} is not a name; put it in quotes")
        yield key, value


def _weight(path: Path, where: str, entry: object) -> Weight:
    """Return the kind and shape in an entry of the section of weights."""
    if isinstance(entry, dict) and {"kind", "shape"} <= entry.keys() <= {"kind", "shape", "groups"}:
        kind, shape, groups = entry["kind"], entry["shape"], entry.get("groups", 1)
        is_shape = (
            isinstance(shape, list) and len(shape) <= 8 and all(type(side) is int and side >= 0 for side in shape)
        )
        is_kind = isinstance(kind, str) and kind in get_args(WeightKind) and (kind != "linear" or len(shape) == 2)
        if is_shape and is_kind and type(groups) is int and groups > 0:
            return Weight(tuple(shape), cast(WeightKind, kind), groups)
    raise ReproError(
        f"{path}: {where} must be like {{kind: conv, shape: [8, 3, 3, 3]}}, with one of the kinds "
        f"{', '.join(get_args(WeightKind))}, not {reprlib.repr(entry)}"
    )
