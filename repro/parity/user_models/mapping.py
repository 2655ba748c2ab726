"""The mapping from the weights of one user model to those of another.

It is found by equal names, or else by the order of execution, shapes and kinds; repro.weights.mapping_file writes it to
a file and reads it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from repro.parity.user_models.weight_entry import WeightEntry
from repro.specs import WeightKind

DOUBTFUL_SIMILARITY = 0.2  # another name that is more similar by this much casts doubt on the order of execution


Layer = list[WeightEntry]  # the weights of one module


@dataclass(frozen=True)
class Counterpart:
    """The name of a weight in the other model, None where there is no counterpart, and a reason to doubt it."""

    name: str | None
    doubt: str = ""


def align_weights(
    left: Sequence[WeightEntry], right: Sequence[WeightEntry], *, by_name: bool = True
) -> dict[str, Counterpart]:
    """The counterpart of each weight of the left model in the right one.

    Layers of equal names are counterparts where that pairs at least half of them. Units, a convolution with its batch
    normalisation, are counterparts in the order of execution where both models have equally many of a shape, and so are
    single layers, where only one of the models has that normalisation. The others are aligned as sequences, so that an
    additional layer does not shift the others; names and the size of the output decide where several units fit. Layers
    that remain are matched regardless of the order.

    by_name: let equal names decide.
    """
    left_layers, right_layers = _group_by_layer(left), _group_by_layer(right)
    equal = _pair_equal_names(left_layers, right_layers) if by_name else {}
    norm = _norm_of_units(left_layers, right_layers, equal)
    pairs = equal | _pair_equal_counts(left_layers, right_layers, equal, norm)
    pairs |= _pair_equal_counts(left_layers, right_layers, pairs, None)
    pairs |= _align_layers(left_layers, right_layers, pairs, norm)
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


def _units(layers: list[Layer], paired: Container[int], norm: WeightKind | None) -> list[list[int]]:
    """The indices of layers that are not paired yet, a convolution or linear layer with the normalisation after it.

    norm: the kind of weight that this normalisation has, or None for single layers.
    """
    units: list[list[int]] = []
    for index, layer in enumerate(layers):
        if index in paired:
            continue
        before = layers[units[-1][-1]] if units and len(units[-1]) == 1 and units[-1][-1] == index - 1 else []
        channels = {entry.shape[0] for entry in before if entry.kind in ("conv", "linear")}
        if any(entry.kind == norm and entry.shape[0] in channels for entry in layer):
            units[-1].append(index)
        else:
            units.append([index])
    return units


def _units_by_shape(layers: list[Layer], paired: Container[int], norm: WeightKind | None) -> dict[Any, list[list[int]]]:
    units: dict[Any, list[list[int]]] = {}
    for unit in _units(layers, paired, norm):
        shape = tuple(frozenset(_signatures(layers[index]).items()) for index in unit)
        units.setdefault(shape, []).append(unit)
    return units


def _norm_of_units(left: list[Layer], right: list[Layer], paired: Mapping[int, int]) -> WeightKind:
    """The kind of weight by which a normalisation is known to belong to the convolution before it.

    Any normalisation does where both models then have the same units; otherwise only batch normalisation, since others
    may belong to what follows.
    """
    counts = [
        {shape: len(units) for shape, units in _units_by_shape(layers, done, "norm_scale").items()}
        for layers, done in ((left, set(paired)), (right, set(paired.values())))
    ]
    return "norm_scale" if counts[0] == counts[1] else "norm_mean"


def _group_by_layer(entries: Sequence[WeightEntry]) -> list[Layer]:
    """The weights of each module. A module with several of one signature, such as layer scales, has layers for each."""
    layers: list[Layer] = []
    for _, group in groupby(entries, key=lambda entry: entry.layer):
        layer = list(group)
        is_container = max(_signatures(layer).values()) > 1
        layers += [[replace(entry, layer=entry.name)] for entry in layer] if is_container else [layer]
    return layers


def _matching(left: Layer, right: Layer) -> list[tuple[WeightEntry, WeightEntry]]:
    """The pairs of weights of two layers with the same signature, and with the same last name where there is one."""
    pairs, unused = [], list(right)
    for entry in left:
        candidates = [candidate for candidate in unused if candidate.signature == entry.signature]
        if candidates:
            leaf = entry.leaf
            match = next((candidate for candidate in candidates if candidate.leaf == leaf), candidates[0])
            pairs.append((entry, match))
            unused.remove(match)
    return pairs


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


def _pair_equal_counts(
    left: list[Layer], right: list[Layer], paired: Mapping[int, int], norm: WeightKind | None
) -> dict[int, int]:
    """The pairs of the layers in units, in order, for each shape of which both models have equally many units.

    Branches of other shapes, and those whose outputs have other sizes, may run in another order.
    """

    def size(unit: list[int]) -> int:
        return math.prod(left[unit[0]][0].output)

    def other_size(unit: list[int]) -> int:
        return math.prod(right[unit[0]][0].output)

    units = _units_by_shape(left, paired, norm)
    other_units = _units_by_shape(right, set(paired.values()), norm)
    pairs: dict[int, int] = {}
    for shape, of_shape in units.items():
        others = other_units.get(shape, [])
        if len(of_shape) != len(others):
            continue
        by_size, others_by_size = sorted(of_shape, key=size), sorted(others, key=other_size)
        has_equal_sizes = [*map(size, by_size)] == [*map(other_size, others_by_size)]  # not where a stride is missing
        chosen = (by_size, others_by_size) if has_equal_sizes else (of_shape, others)
        for unit, other in zip(*chosen, strict=True):
            pairs |= dict(zip(unit, other, strict=True))
    return pairs


def _align_layers(left: list[Layer], right: list[Layer], paired: Mapping[int, int], norm: WeightKind) -> dict[int, int]:
    """The pairs of the other layers, in order on both sides, with the largest total similarity (Needleman and Wunsch).

    A unit is aligned as a whole.
    """
    left_units, right_units = _units(left, paired, norm), _units(right, set(paired.values()), norm)

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
