"""The mapping file of user models, which lists the corresponding weights of two or more models of the same network.

repro.parity writes it, the user corrects it, and repro.parity and repro.port read it.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, get_args

from repro.errors import ReproError, unknown
from repro.files import read_yaml, write_text
from repro.interface.discovery import LABEL, SHIPPED
from repro.specs import Weight, WeightKind
from repro.weights.weight_pairs import Pair

MAX_FILE_BYTES = 1 << 22
MAX_LISTED_NAMES = 1 << 17  # in all lists of a section, which YAML's aliases could repeat
WEIGHTS = "weights"  # the section next to those of the backends
SEPARATOR = ", "  # between the names of several weights on the left
HEADING = """\
# name of each weight in the model of {reference}: its name in the other model; correct it and run again.
# Lines that are left out are found automatically. Further forms:
#   attn.qkv.weight: [attn.q.weight, attn.k.weight, attn.v.weight]  # joined along the axis of the outputs
#   attn.q.weight, attn.k.weight, attn.v.weight: attn.qkv.weight
#   conv.bias: null  # the other model lacks it: it is 0 (a scale is 1), or it is of a layer that the other model lacks
#   null: [aux.fc.weight, aux.fc.bias]  # the model of {reference} lacks them
"""
WEIGHTS_HEADING = """\
# kind and canonical shape of each weight, by which repro.port converts; repro.parity keeps them up to date
"""
LINE_FORM = "`name: counterpart`"


@dataclass(frozen=True)
class ModelMapping:
    """The content of a mapping file.

    pairs: backend -> pairs of the reference's weights and those of that backend's model; the reference itself is left
    out. weights: backend -> canonical name in its model -> kind and canonical shape, of the reference, too; {} if the
    user wrote the file. A second model in torch has torch#2 in place of the backend.
    """

    pairs: dict[str, list[Pair]]
    weights: dict[str, dict[str, Weight]] = field(default_factory=dict)

    @property
    def reference(self) -> str:
        """The backend whose model gives the names on the left, or "" where that is unclear."""
        unnamed = [backend for backend in self.weights if backend not in self.pairs]
        return unnamed[0] if len(unnamed) == 1 else ""


def checked_pairs(
    path: Path, mapping: ModelMapping, backend: str, reference: Mapping[str, Weight], weights: Mapping[str, Weight]
) -> list[Pair]:
    """Return the pairs of the reference's weights and those of the model of `backend`, all of which exist.

    Raises ReproError for a file without pairs for the backend, and for the name of a weight that does not exist.
    """
    pairs = mapping.pairs.get(backend)
    if pairs is None:
        raise ReproError(f"{path}: {backend} must be lines of {LINE_FORM}, and there are none")
    for pair in pairs:
        for name in pair.left:
            if name not in reference:
                raise unknown(f"weight in {path}, {backend}:", name, reference)
        for name in pair.right:
            if name not in weights:
                left = SEPARATOR.join(pair.left) or "null"
                raise unknown(f"weight for {left} in {path}, {backend}:", name, weights)
    return pairs


def write_mapping(path: Path, mapping: ModelMapping) -> None:
    """Write a mapping file, with doubts as comments."""
    text = HEADING.format(reference=mapping.reference)
    for backend, pairs in mapping.pairs.items():
        text += f"{backend}:\n"
        unpaired = tuple(name for pair in pairs if not pair.left for name in pair.right)
        for pair in [pair for pair in pairs if pair.left] + [Pair((), unpaired)] * bool(unpaired):
            right = None if not pair.right else pair.right[0] if len(pair.right) == 1 and pair.left else [*pair.right]
            line = _line(SEPARATOR.join(pair.left) or None, right)
            text += f"  {line}{f'  # {pair.doubt}' if pair.doubt else ''}\n"
    text += f"\n{WEIGHTS_HEADING}{WEIGHTS}:\n"
    for backend, weights in mapping.weights.items():
        text += f"  {backend}:\n"
        for name, weight in weights.items():
            entry: dict[str, object] = {"kind": weight.kind, "shape": list(weight.shape)}
            entry |= {"groups": weight.groups} if weight.groups > 1 else {}
            text += f"    {_line(name, entry)}\n"
    write_text(path, text)


def _line(name: str | None, value: object) -> str:
    """Return the YAML of one key and its value on one line."""
    import yaml

    text = yaml.safe_dump({name: value}, width=1 << 20, allow_unicode=True, sort_keys=False, default_flow_style=True)
    return text.strip()[1:-1]


def read_mapping(path: Path) -> ModelMapping:
    """Read a file of write_mapping, which the user may have changed or written.

    Raises ReproError, with the key, for another kind of file.
    """
    sections = read_yaml(path, "mapping", "repro.parity --mapping writes it", MAX_FILE_BYTES)
    pairs: dict[str, list[Pair]] = {}
    for section, content in sections.items():
        if section == WEIGHTS:
            continue
        if not (isinstance(section, str) and LABEL.fullmatch(section)):
            raise unknown(f"key in {path}", section, [*SHIPPED, WEIGHTS])
        if not isinstance(content, dict):
            raise ReproError(f"{path}: {section} must be lines of {LINE_FORM}, not {reprlib.repr(content)}")
        if sum(len(value) for value in content.values() if isinstance(value, list)) > MAX_LISTED_NAMES:
            raise ReproError(f"{path}: {section} lists more than {MAX_LISTED_NAMES} names")
        pairs[section] = [_pair(path, section, name, counterpart) for name, counterpart in content.items()]
    weights: dict[str, dict[str, Weight]] = {}
    for backend, content in _lines(path, WEIGHTS, sections.get(WEIGHTS, {}), "a backend"):
        if not LABEL.fullmatch(backend):
            raise unknown(f"key in {path}, {WEIGHTS}:", backend, SHIPPED)
        described = _lines(path, f"{WEIGHTS}: {backend}", content, "`name: {kind: ..., shape: [...]}`")
        weights[backend] = {name: _weight(path, f"{WEIGHTS}: {backend}: {name}", entry) for name, entry in described}
    return ModelMapping(pairs, weights)


def _pair(path: Path, section: str, name: object, counterpart: object) -> Pair:
    """Return the pair in a line. Raises ReproError for a key or value that is not a name, several names or null."""
    if name is not None and not isinstance(name, str):
        raise ReproError(f"{path}: {section}: {reprlib.repr(name)} is not a name; put it in quotes")
    left = () if name is None else tuple(name.split(SEPARATOR))
    right: list[Any] = [] if counterpart is None else counterpart if isinstance(counterpart, list) else [counterpart]
    if not all(isinstance(part, str) for part in right) or not (left or right):
        form = "a name, a list of names or null" if left else "a list of names"
        raise ReproError(f"{path}: {section}: {name or 'null'} must be {form}, not {reprlib.repr(counterpart)}")
    return Pair(left, tuple(right))


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
        is_kind = isinstance(kind, str) and kind in get_args(WeightKind)
        if is_shape and is_kind and _has_axes(kind, len(shape)) and type(groups) is int and groups > 0:
            return Weight(tuple(shape), cast(WeightKind, kind), groups)
    raise ReproError(
        f"{path}: {where} must be like {{kind: conv, shape: [8, 3, 3, 3]}}, with one of the kinds "
        f"{', '.join(get_args(WeightKind))}, not {reprlib.repr(entry)}"
    )


def _has_axes(kind: str, count: int) -> bool:
    """Return whether a weight of this kind can have a shape with this number of axes."""
    return count == 2 if kind == "linear" else kind != "conv" or count > 2
