"""Packed weights: queries, keys and values that one model has in one weight and another model in two or three."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from repro.parity.user_models.mapping import align_weights
from repro.parity.user_models.weight_entry import WeightEntry
from repro.weights.mapping_file import SEPARATOR
from repro.weights.weight_pairs import Pair

# The word of a layer's name that shows what the layer computes, such as the q of "attn.q_proj" and the k of "to_k"
ROLE = re.compile(r"(?<![a-z])w?(qk|kv|queries|query|q|keys|key|k|values|value|v)(?![a-z])", re.IGNORECASE)
PACKINGS = (("q", "k", "v"), ("q", "kv"), ("qk", "v"), ("k", "v"), ("q", "k"))  # parts of a packed weight in order
Layer = list[WeightEntry]


def pair_weights(left: Sequence[WeightEntry], right: Sequence[WeightEntry]) -> list[Pair]:
    """Return the pairs of the weights of two models, each weight in one pair at most, in the left model's order."""
    packed_left, packed_right = _join_parts(left, right), _join_parts(right, left)
    counterparts = align_weights(packed_left, packed_right)
    return [
        Pair(tuple(name.split(SEPARATOR)), tuple(counterpart.name.split(SEPARATOR)), counterpart.doubt)
        for name, counterpart in counterparts.items()
        if counterpart.name is not None
    ]


def _join_parts(entries: Sequence[WeightEntry], others: Sequence[WeightEntry]) -> list[WeightEntry]:
    """Return the entries with queries, keys and values as one entry where the other model has such weights packed."""
    layers = [list(group) for _, group in groupby(entries, key=lambda entry: entry.layer)]
    for packing in PACKINGS:
        missing = _signatures(others) - _signatures(entry for layer in layers for entry in layer)
        for parts in _parts(layers, packing):
            joined = [_joined(of_parts) for of_parts in zip(*(layers[index] for index in parts), strict=True)]
            if missing[joined[0].signature] > 0:
                missing[joined[0].signature] -= 1
                layers[min(parts)] = joined
                for index in sorted(parts)[1:]:
                    layers[index] = []
    return [entry for layer in layers for entry in layer]


def _signatures(entries: Any) -> Counter[Any]:
    return Counter(entry.signature for entry in entries)


def _parts(layers: Sequence[Layer], packing: Sequence[str]) -> Iterator[list[int]]:
    """Yield the positions of layers that are the parts of a packed layer, in the order of the packing."""
    places: dict[Any, dict[str, int]] = {}
    for index, layer in enumerate(layers):
        words = list(ROLE.finditer(layer[0].layer)) if layer else []
        if words:
            name = layer[0].layer
            start, end = words[-1].span(1)
            key = name[:start], name[end:], tuple((_leaf(entry), entry.kind, entry.shape[1:]) for entry in layer)
            word = words[-1][1].lower()
            places.setdefault(key, {})[word if len(word) == 2 else word[0]] = index
    for roles in places.values():
        if all(role in roles for role in packing):
            yield [roles[role] for role in packing]


def _leaf(entry: WeightEntry) -> str:
    return entry.name.rpartition(".")[2]


def _joined(parts: Sequence[WeightEntry]) -> WeightEntry:
    """Return the entry that stands for several weights, joined along the first axis."""
    return replace(
        parts[0],
        name=SEPARATOR.join(part.name for part in parts),
        layer=SEPARATOR.join(part.layer for part in parts),
        shape=(sum(part.shape[0] for part in parts), *parts[0].shape[1:]),
        ran=all(part.ran for part in parts),
    )
