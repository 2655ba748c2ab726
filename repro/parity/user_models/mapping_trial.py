"""Doubtful pairs of weights are tried: the alternative with which the models agree best is kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np

from repro.arrays import Arrays
from repro.errors import ReproError
from repro.interface.module_outputs import INPUT_PREFIX
from repro.parity.attempt import Workers
from repro.parity.tolerance import root_mean_square
from repro.parity.user_models.inputs import Inputs, random_inputs
from repro.parity.user_models.mapping import align_weights, name_similarity
from repro.parity.user_models.pairs import module_names
from repro.parity.user_models.weight_entry import WeightEntry
from repro.specs.user_model import UserModelSpec
from repro.weights.init import random_weights
from repro.weights.weight_pairs import Pair

Names = list[tuple[str, ...]]  # the names on a pair's left side
Counterparts = dict[tuple[str, ...], tuple[str, ...]]  # left side of a pair -> its right side

MAX_TRIALS = 24  # forward passes of each model
AGREES = 1e-3  # mean error, relative to the arrays, of models that agree
GAIN = 1e-2  # an alternative must have an error that is smaller by this


class MappingTrial:
    """The first model with random weights in evaluation mode, with which others are compared under several mappings."""

    def __init__(self, workers: Workers, entries: Mapping[str, Sequence[WeightEntry]], inputs: Inputs):
        """entries: the weights of each model in the order of execution; inputs: those that the models are given."""
        self.workers, self.entries = workers, entries
        self.first = next(iter(entries))
        weights = {entry.name: entry.weight for entry in entries[self.first]}
        self.spec = UserModelSpec(name="", num_classes=1, norm_momentum=0.1, weights_by_name=weights, owners={})
        self.inputs = random_inputs(inputs, 0, 0)

    def settle_doubts(self, backend: str, pairs: list[Pair]) -> list[Pair]:
        """The pairs of a model, those in doubt exchanged where it then agrees better.

        Where the models agree, there is no doubt left. A model that does not run keeps its pairs.
        """
        try:
            least = self._error(backend, pairs)
            trials, improved = 1, True
            while improved and least > AGREES:
                improved = False
                for alternative in _alternatives(self.entries[self.first], self.entries[backend], pairs):
                    if trials == MAX_TRIALS:
                        break
                    trials += 1
                    error = self._error(backend, alternative)
                    if error < min(least - GAIN, least / 2):
                        pairs, least, improved = alternative, error, True
                        break
        except ReproError:
            return pairs
        if least > AGREES:
            return pairs
        return [pair._replace(doubt="") if pair.left and pair.right else pair for pair in pairs]

    @cached_property
    def _weights(self) -> Arrays:
        return random_weights(self.spec, 0)

    @cached_property
    def _expected(self) -> Arrays:
        return self._forward(self.first, [Pair((entry.name,), (entry.name,)) for entry in self.entries[self.first]])

    def _forward(self, backend: str, pairs: Sequence[Pair]) -> Arrays:
        """The results of a forward pass with the weights of the first model."""
        layers = [entry.layer for entry in self.entries[self.first]]
        results = [*dict.fromkeys(f"{INPUT_PREFIX}{layer}" for layer in layers), "logits"]
        names = {
            own: name for name, own in module_names(self.entries[self.first], self.entries[backend], pairs).items()
        }
        worker = self.workers[backend]
        worker.request(
            "load_user_weights", self._weights, pairs=[[pair.left, pair.right] for pair in pairs], names=names,
            results=results, seed=0,
        )  # fmt: skip
        return worker.request("forward", self.inputs, every_module=True)[1]

    def _error(self, backend: str, pairs: Sequence[Pair]) -> float:
        """The mean error of what enters the modules and of the logits, from 0 to 1 and relative to the arrays."""
        expected, actual = self._expected, self._forward(backend, pairs)
        errors = [
            min(1.0, root_mean_square(actual[name] - array) / (root_mean_square(array) or 1.0))
            for name, array in expected.items()
            if name in actual and actual[name].shape == array.shape
        ]
        return float(np.mean(np.nan_to_num(errors, nan=1.0))) if errors else 0.0


def _alternatives(left: Sequence[WeightEntry], right: Sequence[WeightEntry], pairs: list[Pair]) -> Iterator[list[Pair]]:
    """Yield the pairs by the order of execution, those by name, and all with two doubtful layers exchanged."""
    counterparts = {pair.left: pair.right for pair in pairs if pair.left and pair.right}

    def exchanged_pairs(candidate: Counterparts) -> list[Pair]:
        return [pair._replace(right=candidate.get(pair.left, pair.right)) for pair in pairs]

    by_order = align_weights(left, right, by_name=False)
    ordered: Counterparts = {(name,): (other.name,) for name, other in by_order.items() if other.name}
    if counterparts.keys() == ordered.keys() and set(counterparts.values()) == set(ordered.values()):
        yield exchanged_pairs(ordered)
    layers = _doubtful_layers(left, pairs)
    swaps = sorted(
        (
            (_gain(counterparts, names, other_names), names, other_names)
            for index, (names, signature) in enumerate(layers)
            for other_names, other_signature in layers[index + 1 :]
            if signature == other_signature
        ),
        key=lambda swap: -swap[0],
    )
    by_name = counterparts
    for gain, names, other_names in swaps:
        if gain > 0:
            by_name = _exchanged(by_name, names, other_names)
    candidates = [by_name, *(_exchanged(counterparts, names, other_names) for _, names, other_names in swaps)]
    for candidate in candidates:
        if candidate != counterparts:
            yield exchanged_pairs(candidate)


def _doubtful_layers(entries: Sequence[WeightEntry], pairs: Sequence[Pair]) -> list[tuple[Names, list[object]]]:
    """The weights of each layer in doubt that are not parts of others, and their signatures."""
    doubtful = {pair.left[0] for pair in pairs if pair.doubt and len(pair.left) == len(pair.right) == 1}
    layers: dict[str, tuple[Names, list[object]]] = {}
    for entry in entries:
        if entry.name in doubtful:
            names, signatures = layers.setdefault(entry.layer, ([], []))
            names.append((entry.name,))
            signatures.append(entry.signature)
    return list(layers.values())


def _gain(counterparts: Counterparts, names: Names, other_names: Names) -> float:
    """The similarity of the names that exchanging the counterparts of two layers gains."""

    def similarity(pairs: Counterparts) -> float:
        return sum(name_similarity(name[0], pairs[name][0]) for name in (*names, *other_names))

    return similarity(_exchanged(counterparts, names, other_names)) - similarity(counterparts)


def _exchanged(counterparts: Counterparts, names: Names, other_names: Names) -> Counterparts:
    """The counterparts in which two layers have each other's."""
    exchanged = dict(counterparts)
    for name, other_name in zip(names, other_names, strict=True):
        exchanged[name], exchanged[other_name] = counterparts[other_name], counterparts[name]
    return exchanged
