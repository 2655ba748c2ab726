"""Canonical names and axes <-> those of a framework, by the kind of a weight and never by its shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from repro.arrays import Arrays
from repro.specs import LEAVES, STATISTICS, Kind, Weight


@dataclass(frozen=True)
class NativeNames:
    """What a framework calls the last part of a name, and in which order it stores the axes of a kind."""

    leaves: Mapping[Kind, str]
    axes: Mapping[Kind, tuple[int, ...]] = field(default_factory=dict)

    def name(self, canonical: str, weight: Weight) -> str:
        """The native name of a canonical one."""
        path, dot, leaf = canonical.rpartition(".")
        return f"{path}{dot}{self.leaves.get(weight.kind, leaf)}"

    def canonical(self, leaf: str, layer: str) -> tuple[str, Kind]:
        """The canonical form and the kind of what a layer ("conv", "linear", "norm", "" for another) calls `leaf`."""
        for canonical, kind in LEAVES.get(layer, {}).items():
            if self.leaves.get(kind, canonical) == leaf:
                return canonical, kind
        return leaf, "other"

    def turn(self, array: np.ndarray, weight: Weight) -> np.ndarray:
        """A canonical array as the framework stores it: a view."""
        axes = self.axes.get(weight.kind)
        return array.transpose(axes) if axes else array

    def turned_shape(self, weight: Weight) -> tuple[int, ...]:
        """The shape that `turn` makes of the weight's."""
        return tuple(weight.shape[axis] for axis in self.axes.get(weight.kind, range(len(weight.shape))))

    def shapes(self, weights: Mapping[str, Weight]) -> dict[str, tuple[int, ...]]:
        """Of canonical weights, by their native names."""
        return {self.name(name, weight): self.turned_shape(weight) for name, weight in weights.items()}

    def statistics(self, weights: Mapping[str, Weight]) -> list[str]:
        """The native names of the running statistics."""
        return [self.name(name, weight) for name, weight in weights.items() if weight.kind in STATISTICS]

    def back(self, array: np.ndarray, weight: Weight) -> np.ndarray:
        """An array of the framework in canonical order: a view, left alone where it has another number of axes."""
        axes = self.axes.get(weight.kind)
        return array.transpose(np.argsort(axes)) if axes and array.ndim == len(axes) else array

    def to_native(self, arrays: Mapping[str, np.ndarray], weights: Mapping[str, Weight]) -> Arrays:
        """Canonical arrays, all of `weights`, under native names, each in one piece of memory."""
        turned = {self.name(name, weight): self.turn(arrays[name], weight) for name, weight in weights.items()}
        return {name: np.asarray(array, order="C") for name, array in turned.items()}

    def to_canonical(self, arrays: Mapping[str, np.ndarray], weights: Mapping[str, Weight]) -> Arrays:
        """Native arrays under canonical names. Names that belong to no weight are kept as they are, and missing ones
        left out: repro.weights.strict.check_weights tells of both."""
        native = {self.name(name, weight): name for name, weight in weights.items()}
        return {
            native.get(name, name): np.asarray(self.back(array, weights[native[name]]), order="C")
            if name in native
            else array
            for name, array in arrays.items()
        }
