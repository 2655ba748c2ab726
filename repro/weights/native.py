"""Canonical names and axes <-> those of a framework, by the kind of a weight and never by its shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from repro.specs import Kind, Weight

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class NativeNames:
    """What a framework calls the last part of a name, and which kinds it stores with the axes reversed."""

    leaves: Mapping[Kind, str]
    reversed_axes: tuple[Kind, ...] = ()

    def name(self, canonical: str, weight: Weight) -> str:
        """The native name of a canonical one."""
        path, _, leaf = canonical.rpartition(".")
        return f"{path}.{self.leaves.get(weight.kind, leaf)}"

    def turn(self, array: np.ndarray, weight: Weight) -> np.ndarray:
        """The array as the other side stores it; its own inverse."""
        return np.ascontiguousarray(array.T) if weight.kind in self.reversed_axes else array

    def to_native(self, arrays: Mapping[str, np.ndarray], weights: Mapping[str, Weight]) -> Arrays:
        """Canonical arrays, all of `weights`, under native names."""
        return {self.name(name, weight): self.turn(arrays[name], weight) for name, weight in weights.items()}

    def to_canonical(self, arrays: Mapping[str, np.ndarray], weights: Mapping[str, Weight]) -> Arrays:
        """Native arrays under canonical names. Names that belong to no weight are kept as they are, and missing ones
        left out: repro.weights.check.check tells of both."""
        native = {self.name(name, weight): name for name, weight in weights.items()}
        return {
            native.get(name, name): self.turn(array, weights[native[name]]) if name in native else array
            for name, array in arrays.items()
        }
