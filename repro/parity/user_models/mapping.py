"""The mapping from the weights of one user model to those of another.

It is found by equal names, or else by the order of execution, shapes and kinds; repro.weights.mapping_file writes it to
a file and reads it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
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
    function returns it trainable; aliases: its further names, where modules share it; output: the sides of what the
    module puts out, without the batch and in whatever order.
    """

    name: str
    shape: tuple[int, ...]
    kind: WeightKind
    groups: int
    layer: str
    ran: bool = True
    trained: bool = True
    aliases: tuple[str, ...] = ()
    output: tuple[int, ...] = ()

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


Layer = list[WeightEntry]  # the weights of one module


@dataclass(frozen=True)
class Counterpart:
    """The name of a weight in the other model, None where there is no counterpart, and a reason to doubt it."""

    name: str | None
    doubt: str = ""


def order_by_execution(
    rows: Iterable[Sequence[Any]], results: Iterable[str], shapes: Mapping[str, tuple[int, ...]] | None = None
) -> list[WeightEntry]:
    """The weights in the order in which their modules run.

    rows: as the request create_user_model returns them; results: the names that Backend.forward returns for every
    module; shapes: of these results. A module that does not run itself stays behind the one that was registered before
    it.
    """
    positions: dict[str, int] = {}
    for index, result in enumerate(results):
        positions.setdefault(result.removeprefix("input of "), index)
    placed, position = [], -1
    for name, shape, kind, groups, layer, trained, aliases in rows:
        position = positions.get(layer, position)
        output = tuple(sorted(side for side in (shapes or {}).get(layer, ())[1:] if side > 1))
        ran = layer in positions
        entry = WeightEntry(name, tuple(shape), kind, groups, layer, ran, trained, tuple(aliases), output)
        placed.append((position, entry))
    return [entry for _, entry in sorted(placed, key=lambda pair: pair[0])]


def align_weights(
    left: Sequence[WeightEntry], right: Sequence[WeightEntry], *, by_name: bool = True
) -> dict[str, Counterpart]:
    """The counterpart of each weight of the left model in the right one.

    Layers of equal names are counterparts where that pairs at least half of them. Units, a convolution with its
    normalisation, are counterparts in the order of execution where both models have equally many of a shape. The others
    are aligned as sequences, so that an additional layer does not shift the others; names and the size of the output
    decide where several units fit. Layers that remain are matched regardless of the order.

    by_name: let equal names decide.
    """
    left_layers, right_layers = _group_by_layer(left), _group_by_layer(right)
    equal = _pair_equal_names(left_layers, right_layers) if by_name else {}
    pairs = equal | _pair_equal_counts(left_layers, right_layers, equal)
    pairs |= _align_layers(left_layers, right_layers, pairs)
    counterparts: dict[str, Counterpart] = {}
    for i, j in pairs.items():
        doubt = "" if i in equal else _doubt(left_layers, right_layers, i, j)
        counterparts |= {a.name: Counterpart(b.name, doubt) for a, b in _matching(left_layers[i], right_layers[j])}
    unused = [j for j in range(len(right_layers)) if j not in pairs.values()]
    for i in (i for i in range(len(left_layers)) if i not in pairs):
        best = max(unused, key=lambda j: _similarity(left_layers[i], right_layers[j]), default=None)
        if best is not None and (matches := _matching(left_layers[i], right_layers[best])):
            counterparts |= {a.name: Counterpart(b.name, "runs at another place") for a, b in matches}
            unused.remove(best)
    return {entry.name: counterparts.get(entry.name, Counterpart(None)) for entry in left}


def _pair_equal_names(left: list[Layer], right: list[Layer]) -> dict[int, int]:
    """The pairs of layers with equal names and signatures, or none if they are less than half of the layers."""
    places = {layer[0].layer: j for j, layer in enumerate(right)}
    pairs = {
        i: places[layer[0].layer]
        for i, layer in enumerate(left)
        if layer[0].layer in places and _signatures(layer) == _signatures(right[places[layer[0].layer]])
    }
    return pairs if 2 * len(pairs) >= max(len(left), len(right)) else {}


def _signatures(layer: Layer) -> Counter[Any]:
    return Counter(entry.signature for entry in layer)


def _units(layers: list[Layer], paired: Container[int]) -> list[list[int]]:
    """The indices of layers that are not paired yet, a convolution or linear layer with the normalisation behind it."""
    units: list[list[int]] = []
    for index, layer in enumerate(layers):
        if index in paired:
            continue
        before = layers[units[-1][-1]] if units and len(units[-1]) == 1 and units[-1][-1] == index - 1 else []
        channels = {entry.shape[0] for entry in before if entry.kind in ("conv", "linear")}
        if any(entry.kind == "norm_scale" and entry.shape[0] in channels for entry in layer):
            units[-1].append(index)
        else:
            units.append([index])
    return units


def _group_by_layer(entries: Sequence[WeightEntry]) -> list[Layer]:
    return [list(group) for _, group in groupby(entries, key=lambda entry: entry.layer)]


def _matching(left: Layer, right: Layer) -> list[tuple[WeightEntry, WeightEntry]]:
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


def name_similarity(left: str, right: str) -> float:
    """The similarity of two names, from 0 to 1 (Dice coefficient of their bigrams)."""
    a, b = _bigrams(left), _bigrams(right)
    return 2 * (a & b).total() / (a.total() + b.total())


def _similarity(left: Layer, right: Layer) -> float:
    """The number of matching weights of two layers, plus at most a half for their names and a quarter for outputs."""
    matches = len(_matching(left, right))
    same_output = left[0].output == right[0].output
    return matches + name_similarity(left[0].layer, right[0].layer) / 2 + same_output / 4 if matches else 0.0


def _pair_equal_counts(left: list[Layer], right: list[Layer], paired: Mapping[int, int]) -> dict[int, int]:
    """The pairs of the layers in units, in order, for each shape of which both models have equally many units.

    Branches of other shapes may run in another order.
    """

    def by_shape(layers: list[Layer], done: Container[int]) -> dict[Any, list[list[int]]]:
        units: dict[Any, list[list[int]]] = {}
        for unit in _units(layers, done):
            shape = tuple(frozenset(_signatures(layers[index]).items()) for index in unit)
            units.setdefault(shape, []).append(unit)
        return units

    units, other_units = by_shape(left, paired), by_shape(right, set(paired.values()))
    return {
        i: j
        for shape, of_shape in units.items()
        if len(of_shape) == len(other_units.get(shape, []))
        for unit, other in zip(of_shape, other_units[shape], strict=True)
        for i, j in zip(unit, other, strict=True)
    }


def _align_layers(left: list[Layer], right: list[Layer], paired: Mapping[int, int]) -> dict[int, int]:
    """The pairs of the other layers, in order on both sides, with the largest total similarity (Needleman and Wunsch).

    A unit is aligned as a whole.
    """
    left_units, right_units = _units(left, paired), _units(right, set(paired.values()))

    def score(unit: list[int], other: list[int]) -> float:
        return sum(_similarity(left[i], right[j]) for i, j in zip(unit, other, strict=False))

    best = [[0.0] * (len(right_units) + 1) for _ in range(len(left_units) + 1)]
    scores = [
        [score(unit, other) if _share_signature(left[unit[0]], right[other[0]]) else 0.0 for other in right_units]
        for unit in left_units
    ]
    for i in reversed(range(len(left_units))):
        for j in reversed(range(len(right_units))):
            together = best[i + 1][j + 1] + scores[i][j] if scores[i][j] else 0.0
            best[i][j] = max(together, best[i + 1][j], best[i][j + 1])
    pairs: dict[int, int] = {}
    i = j = 0
    while i < len(left_units) and j < len(right_units):
        if scores[i][j] and best[i][j] == best[i + 1][j + 1] + scores[i][j]:
            pairs |= {
                a: b for a, b in zip(left_units[i], right_units[j], strict=False) if _share_signature(left[a], right[b])
            }
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            i += 1
        else:
            j += 1
    return pairs


def _share_signature(left: Layer, right: Layer) -> bool:
    return not {entry.signature for entry in left}.isdisjoint(entry.signature for entry in right)


def _doubt(left: list[Layer], right: list[Layer], i: int, j: int) -> str:
    """The reason to doubt a pair of layers that the order has put together, or ""."""
    signatures = [entry.signature for entry in left[i]]
    left_count = sum([entry.signature for entry in layer] == signatures for layer in left)
    candidates = [layer for layer in right if [entry.signature for entry in layer] == signatures]
    left_name, right_name = left[i][0].layer, right[j][0].layer
    similarities = {
        layer[0].layer: name_similarity(left_name, layer[0].layer) for layer in candidates if layer is not right[j]
    }
    similarity = name_similarity(left_name, right_name)
    rival = max(similarities, key=lambda layer: similarities[layer], default=right_name)
    if rival != right_name and similarities[rival] > similarity + DOUBTFUL_SIMILARITY:
        return f"by its name it could be {rival}"
    if rival != right_name and left_count != len(candidates) and similarities[rival] >= similarity:
        return f"{left_count} of this shape on one side and {len(candidates)} on the other"
    if left_count > 1 and not (left[i][0].ran and right[j][0].ran):
        return "one of several with this shape, paired in the order of registration"
    return ""
