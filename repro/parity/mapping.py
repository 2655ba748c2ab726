"""Which weight of one model is which of another: found by running order, shape and kind, written for the user to
correct, and read again."""

from __future__ import annotations

import reprlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from repro.errors import ReproError, unknown
from repro.files import read_yaml, write_text

LARGEST_FILE = 1 << 22  # bytes
NEARER = 0.2  # by that much another name must be more alike to cast doubt on what the order says


@dataclass(frozen=True)
class Entry:
    """One weight of a model; layer: path of the module that owns it; ran: whether that was seen to run."""

    name: str
    shape: tuple[int, ...]
    kind: str
    groups: int
    layer: str
    ran: bool = True

    def __str__(self) -> str:
        return f"{self.name} {self.shape} {self.kind}{f' in {self.groups} groups' if self.groups > 1 else ''}"

    @property
    def key(self) -> tuple[Any, ...]:
        return self.kind, self.shape, self.groups


@dataclass(frozen=True)
class Found:
    """The other's name of a weight, None for no counterpart, and what casts doubt on it."""

    name: str | None
    doubt: str = ""


def in_running_order(rows: Iterable[Sequence[Any]], events: Iterable[str]) -> list[Entry]:
    """The weights of `adopt`'s rows in the order in which their modules run, by the names of what Backend.forward finds
    when it looks closely. A module that does not run by itself stays behind the one registered before it."""
    order: dict[str, int] = {}
    for index, event in enumerate(events):
        order.setdefault(event.removeprefix("enters "), index)
    placed, last = [], -1
    for name, shape, kind, groups, layer in rows:
        last = order.get(layer, last)
        placed.append((last, Entry(name, tuple(shape), kind, groups, layer, layer in order)))
    return [entry for _, entry in sorted(placed, key=lambda pair: pair[0])]


def align(ours: Sequence[Entry], theirs: Sequence[Entry]) -> dict[str, Found]:
    """For each of our weights, theirs: layers are aligned as sequences, so that one too many does not shift the rest,
    and where several fit, by their names. What is left over is matched across that order."""
    left, right = _layers(ours), _layers(theirs)
    pairs = _aligned(left, right)
    found: dict[str, Found] = {}
    for i, j in pairs.items():
        doubt = _doubt(left, right, i, j)
        found |= {a.name: Found(b.name, doubt) for a, b in _common(left[i], right[j])}
    spare = [j for j in range(len(right)) if j not in pairs.values()]
    for i in (i for i in range(len(left)) if i not in pairs):
        best = max(spare, key=lambda j: _score(left[i], right[j]), default=None)
        if best is not None and (common := _common(left[i], right[best])):
            found |= {a.name: Found(b.name, "runs at another place") for a, b in common}
            spare.remove(best)
    return {entry.name: found.get(entry.name, Found(None)) for entry in ours}


def _layers(entries: Sequence[Entry]) -> list[list[Entry]]:
    return [list(group) for _, group in groupby(entries, key=lambda entry: entry.layer)]


def _common(left: list[Entry], right: list[Entry]) -> list[tuple[Entry, Entry]]:
    """The weights that two layers have in common: same kind, shape and groups, and the same leaf rather than not."""
    pairs, spare = [], list(right)
    for entry in left:
        alike = [other for other in spare if other.key == entry.key]
        if alike:
            leaf = entry.name.rpartition(".")[2]
            other = next((one for one in alike if one.name.rpartition(".")[2] == leaf), alike[0])
            pairs.append((entry, other))
            spare.remove(other)
    return pairs


def _bigrams(name: str) -> Counter[str]:
    text = f".{name.lower()}."
    return Counter(text[i : i + 2] for i in range(len(text) - 1))


def _alike(left: str, right: str) -> float:
    """How alike two names are, from 0 to 1."""
    a, b = _bigrams(left), _bigrams(right)
    return 2 * (a & b).total() / (a.total() + b.total())


def _score(left: list[Entry], right: list[Entry]) -> float:
    """How much two layers have in common, of which names are the least."""
    common = len(_common(left, right))
    return common + _alike(left[0].layer, right[0].layer) / 2 if common else 0.0


def _aligned(left: list[list[Entry]], right: list[list[Entry]]) -> dict[int, int]:
    """Pairs of layers in order, of the largest score altogether (Needleman and Wunsch)."""
    best = [[0.0] * (len(right) + 1) for _ in range(len(left) + 1)]
    scores = [[_score(a, b) if _may(a, b) else 0.0 for b in right] for a in left]
    for i in reversed(range(len(left))):
        for j in reversed(range(len(right))):
            both = best[i + 1][j + 1] + scores[i][j] if scores[i][j] else 0.0
            best[i][j] = max(both, best[i + 1][j], best[i][j + 1])
    pairs, i, j = {}, 0, 0
    while i < len(left) and j < len(right):
        if scores[i][j] and best[i][j] == best[i + 1][j + 1] + scores[i][j]:
            pairs[i] = j
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            i += 1
        else:
            j += 1
    return pairs


def _may(left: list[Entry], right: list[Entry]) -> bool:
    return not {entry.key for entry in left}.isdisjoint(entry.key for entry in right)


def _doubt(left: list[list[Entry]], right: list[list[Entry]], i: int, j: int) -> str:
    """What casts doubt on a pair of layers that the order has put together."""
    signature = [entry.key for entry in left[i]]
    others = [layer for layer in right if [entry.key for entry in layer] == signature]
    count = sum([entry.key for entry in layer] == signature for layer in left)
    name, own = left[i][0].layer, right[j][0].layer
    rivals = {layer[0].layer: _alike(name, layer[0].layer) for layer in others if layer is not right[j]}
    better = max(rivals, key=lambda layer: rivals[layer], default=own)
    if better != own and rivals[better] > _alike(name, own) + NEARER:
        return f"by its name it could be {better}"
    if better != own and count != len(others) and rivals[better] >= _alike(name, own):
        return f"{count} of that shape here and {len(others)} there"
    if count > 1 and not (left[i][0].ran and right[j][0].ran):
        return "one of several alike, by the order of registration"
    return ""


def complaints(ours: Sequence[Entry], theirs: Sequence[Entry], names: Mapping[str, str | None]) -> Iterator[str]:
    """What keeps a mapping (our name -> theirs) from carrying all weights across."""
    known = {entry.name: entry for entry in theirs}
    used = Counter(name for name in names.values() if name is not None)
    for entry in ours:
        name = names.get(entry.name)
        if name is None:
            yield f"{entry} has no counterpart"
            continue
        other = known[name]
        if other.shape != entry.shape or other.groups != entry.groups:
            yield f"{entry} does not fit {other}"
        elif other.kind != entry.kind and "other" not in (other.kind, entry.kind):
            yield f"{entry} is of another kind than {other}"
        elif used[name] > 1:
            yield f"{entry} shares {name} with another"
    for name in known.keys() - used.keys():
        yield f"theirs is left over: {known[name]}"


def write(path: Path, reference: str, found: Mapping[str, Mapping[str, Found]]) -> None:
    """A file of {backend: {our name: theirs}}, with doubts beside, for the user to correct."""
    import yaml

    lines = [f"# {reference}'s names of the weights, and the others'; correct what is wrong, and run again"]
    for backend, mapping in found.items():
        lines.append(f"{backend}:")
        for name, other in mapping.items():
            line = yaml.safe_dump({name: other.name}, width=1 << 20, allow_unicode=True).strip()
            lines.append(f"  {line}" + (f"  # {other.doubt}" if other.doubt else ""))
    write_text(path, "\n".join(lines) + "\n")


def read(
    path: Path, ours: Sequence[Entry], theirs: Mapping[str, Sequence[Entry]], known: Iterable[str]
) -> dict[str, dict[str, str | None]]:
    """What `write` wrote and a user may have changed; sections of other known backends are passed over.

    Raises ReproError, with the key, for what is not such a file or names a weight that is not there.
    """
    values = read_yaml(path, "mapping", "name a file that is not there, and it is written", LARGEST_FILE)
    for section in values:
        if section not in known:
            raise unknown(f"key in {path}", section, theirs)
    own = {entry.name for entry in ours}
    found: dict[str, dict[str, str | None]] = {}
    for backend, entries in theirs.items():
        section = values.get(backend)
        if not isinstance(section, dict):
            raise ReproError(f"{path}: {backend} must be lines of `our name: theirs`, not {reprlib.repr(section)}")
        names = {entry.name for entry in entries}
        for key, value in section.items():
            if key not in own:
                raise unknown(f"weight in {path}, {backend}:", key, own)
            if value is not None and not isinstance(value, str):
                raise ReproError(f"{path}: {backend}: {key} must be a name, not {reprlib.repr(value)}")
            if value is not None and value not in names:
                raise unknown(f"weight for {key} in {path}, {backend}:", value, names)
        found[backend] = section
    return found
