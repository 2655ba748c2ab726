"""The mapping from the weights of one user model to those of another.

It is found by the order of execution, shapes and kinds; repro.weights.mapping_file writes it to a file and reads it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from repro.specs import Weight, WeightKind
from repro.weights.weight_pairs import is_pointwise, long_sides, weight_label

DOUBTFUL_SIMILARITY = 0.2  # another name that is more similar by this much casts doubt on the order of execution

MATRIX_LEAVES = ("weight", "kernel", "embedding_table", "embeddings")  # ends of the names of matrices


@dataclass(frozen=True)
class WeightEntry:
    """One weight of a user model.

    layer: path of the module that owns it; ran: whether that module was seen to run; trained: whether the model's
    function returns it trainable; aliases: its further names, where modules share it.
    """

    name: str
    shape: tuple[int, ...]
    kind: WeightKind
    groups: int
    layer: str
    ran: bool = True
    trained: bool = True
    aliases: tuple[str, ...] = ()

    def __str__(self) -> str:
        return weight_label(self.name, self.weight)

    @property
    def weight(self) -> Weight:
        """The shape and kind without the place in the model."""
        return Weight(self.shape, self.kind, self.groups)

    @property
    def signature(self) -> tuple[Any, ...]:
        """Everything in which counterparts must agree: role, shape without axes of length 1, and groups."""
        return self._role, long_sides(self.shape), self.groups

    @property
    def _role(self) -> str:
        """The role of the weight, for which frameworks and users have layers of several types."""
        if self.kind in ("norm_shift", "bias"):
            return "shift"
        if self.kind in ("norm_scale", "layer_scale"):
            return "scale"
        if self.kind != "other":
            return "matrix" if is_pointwise(self.weight) else self.kind
        sides, leaf = len(long_sides(self.shape)), _leaf(self.name)
        if sides < 2:
            return "shift" if leaf.endswith(("bias", "beta")) else "scale"
        return "matrix" if sides == 2 and leaf.endswith(MATRIX_LEAVES) else "other"


@dataclass(frozen=True)
class Counterpart:
    """The name of a weight in the other model, None where there is no counterpart, and a reason to doubt it."""

    name: str | None
    doubt: str = ""


def order_by_execution(rows: Iterable[Sequence[Any]], results: Iterable[str]) -> list[WeightEntry]:
    """The weights in the order in which their modules run.

    rows: as the request create_user_model returns them; results: the names that Backend.forward returns for every
    module. A module that does not run itself stays behind the one that was registered before it.
    """
    positions: dict[str, int] = {}
    for index, result in enumerate(results):
        positions.setdefault(result.removeprefix("input of "), index)
    placed, position = [], -1
    for name, shape, kind, groups, layer, trained, aliases in rows:
        position = positions.get(layer, position)
        entry = WeightEntry(name, tuple(shape), kind, groups, layer, layer in positions, trained, tuple(aliases))
        placed.append((position, entry))
    return [entry for _, entry in sorted(placed, key=lambda pair: pair[0])]


def align_weights(left: Sequence[WeightEntry], right: Sequence[WeightEntry]) -> dict[str, Counterpart]:
    """The counterpart of each weight of the left model in the right one.

    Layers are aligned as sequences, so that an additional layer does not shift the others; names decide where several
    layers fit. Layers that remain are matched regardless of the order.
    """
    left_layers, right_layers = _group_by_layer(left), _group_by_layer(right)
    pairs = _align_layers(left_layers, right_layers)
    counterparts: dict[str, Counterpart] = {}
    for i, j in pairs.items():
        doubt = _doubt(left_layers, right_layers, i, j)
        counterparts |= {a.name: Counterpart(b.name, doubt) for a, b in _matching(left_layers[i], right_layers[j])}
    unused = [j for j in range(len(right_layers)) if j not in pairs.values()]
    for i in (i for i in range(len(left_layers)) if i not in pairs):
        best = max(unused, key=lambda j: _similarity(left_layers[i], right_layers[j]), default=None)
        if best is not None and (matches := _matching(left_layers[i], right_layers[best])):
            counterparts |= {a.name: Counterpart(b.name, "runs at another place") for a, b in matches}
            unused.remove(best)
    return {entry.name: counterparts.get(entry.name, Counterpart(None)) for entry in left}


def _group_by_layer(entries: Sequence[WeightEntry]) -> list[list[WeightEntry]]:
    return [list(group) for _, group in groupby(entries, key=lambda entry: entry.layer)]


def _matching(left: list[WeightEntry], right: list[WeightEntry]) -> list[tuple[WeightEntry, WeightEntry]]:
    """The pairs of weights of two layers with the same signature, and with the same last name where there is one."""
    pairs, unused = [], list(right)
    for entry in left:
        candidates = [candidate for candidate in unused if candidate.signature == entry.signature]
        if candidates:
            leaf = _leaf(entry.name)
            match = next((candidate for candidate in candidates if _leaf(candidate.name) == leaf), candidates[0])
            pairs.append((entry, match))
            unused.remove(match)
    return pairs


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]


def _bigrams(name: str) -> Counter[str]:
    text = f".{name.lower()}."
    return Counter(text[i : i + 2] for i in range(len(text) - 1))


def _name_similarity(left: str, right: str) -> float:
    """The similarity of two names, from 0 to 1 (Dice coefficient of their bigrams)."""
    a, b = _bigrams(left), _bigrams(right)
    return 2 * (a & b).total() / (a.total() + b.total())


def _similarity(left: list[WeightEntry], right: list[WeightEntry]) -> float:
    """The number of matching weights of two layers, plus at most a half for their names."""
    matches = len(_matching(left, right))
    return matches + _name_similarity(left[0].layer, right[0].layer) / 2 if matches else 0.0


def _align_layers(left: list[list[WeightEntry]], right: list[list[WeightEntry]]) -> dict[int, int]:
    """The pairs of layers, in order on both sides, with the largest total similarity (Needleman and Wunsch)."""
    best = [[0.0] * (len(right) + 1) for _ in range(len(left) + 1)]
    scores = [[_similarity(a, b) if _share_signature(a, b) else 0.0 for b in right] for a in left]
    for i in reversed(range(len(left))):
        for j in reversed(range(len(right))):
            paired = best[i + 1][j + 1] + scores[i][j] if scores[i][j] else 0.0
            best[i][j] = max(paired, best[i + 1][j], best[i][j + 1])
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


def _share_signature(left: list[WeightEntry], right: list[WeightEntry]) -> bool:
    return not {entry.signature for entry in left}.isdisjoint(entry.signature for entry in right)


def _doubt(left: list[list[WeightEntry]], right: list[list[WeightEntry]], i: int, j: int) -> str:
    """The reason to doubt a pair of layers that the order has put together, or ""."""
    signatures = [entry.signature for entry in left[i]]
    left_count = sum([entry.signature for entry in layer] == signatures for layer in left)
    candidates = [layer for layer in right if [entry.signature for entry in layer] == signatures]
    left_name, right_name = left[i][0].layer, right[j][0].layer
    similarities = {
        layer[0].layer: _name_similarity(left_name, layer[0].layer) for layer in candidates if layer is not right[j]
    }
    similarity = _name_similarity(left_name, right_name)
    rival = max(similarities, key=lambda layer: similarities[layer], default=right_name)
    if rival != right_name and similarities[rival] > similarity + DOUBTFUL_SIMILARITY:
        return f"by its name it could be {rival}"
    if rival != right_name and left_count != len(candidates) and similarities[rival] >= similarity:
        return f"{left_count} of this shape on one side and {len(candidates)} on the other"
    if left_count > 1 and not (left[i][0].ran and right[j][0].ran):
        return "one of several with this shape, paired in the order of registration"
    return ""
