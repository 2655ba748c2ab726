"""Conversion between canonical names and axes and those of a framework, by the kind of a weight.

The shape decides nothing: a square linear weight would not show that it was transposed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from repro.arrays import Arrays
from repro.specs import LEAVES, STATISTICS, Weight, WeightKind


@dataclass(frozen=True)
class NativeNames:
    """A framework's naming of weights.

    leaves: kind -> the last component of the native name, where it differs from the canonical one; axes: kind -> the
    order in which the framework stores the canonical axes, where it differs; depthwise_axes: the order for the kernels
    of depthwise convolutions, where it differs from that of others.
    """

    leaves: Mapping[WeightKind, str]
    axes: Mapping[WeightKind, tuple[int, ...]] = field(default_factory=dict)
    depthwise_axes: tuple[int, ...] | None = None

    def order(self, weight: Weight) -> tuple[int, ...] | None:
        """Return the order in which the framework stores the canonical axes of a weight; None for the canonical one."""
        if self.depthwise_axes and weight.kind == "conv" and 1 < weight.groups == weight.shape[0]:
            return self.depthwise_axes
        return self.axes.get(weight.kind)

    def name(self, canonical: str, weight: Weight) -> str:
        """Return the native name of a canonical one."""
        path, dot, leaf = canonical.rpartition(".")
        return f"{path}{dot}{self.leaves.get(weight.kind, leaf)}"

    def canonical_leaf(self, leaf: str, layer_type: str) -> tuple[str, WeightKind]:
        """Return the canonical form and the kind of the last component of a native name.

        layer_type: "conv", "linear", "norm", or "" for any other layer, whose weights keep their names and are "other".
        """
        for canonical, kind in LEAVES.get(layer_type, {}).items():
            if self.leaves.get(kind, canonical) == leaf:
                return canonical, kind
        return leaf, "other"

    def to_native_axes(self, array: np.ndarray, weight: Weight) -> np.ndarray:
        """Return a view of a canonical array with the axes in the framework's order."""
        axes = self.order(weight)
        return array.transpose(axes) if axes else array

    def to_canonical_axes(self, array: np.ndarray, weight: Weight) -> np.ndarray:
        """Return a view of a native array with the axes in canonical order.

        An array with another number of axes is returned as it is, since it does not fit anyway.
        """
        axes = self.order(weight)
        return array.transpose(np.argsort(axes)) if axes and array.ndim == len(axes) else array

    def native_shape(self, weight: Weight) -> tuple[int, ...]:
        """Return the shape in which the framework stores a weight."""
        return tuple(weight.shape[axis] for axis in self.order(weight) or range(len(weight.shape)))

    def native_shapes(self, weights: Mapping[str, Weight]) -> dict[str, tuple[int, ...]]:
        """Return the native shape of every weight under its native name."""
        return {self.name(name, weight): self.native_shape(weight) for name, weight in weights.items()}

    def native_statistics(self, weights: Mapping[str, Weight], frozen_norms: Collection[str]) -> list[str]:
        """Return the native names of the running statistics, except those of frozen normalisations."""
        return [
            self.name(name, weight)
            for name, weight in weights.items()
            if weight.kind in STATISTICS and name.rpartition(".")[0] not in frozen_norms
        ]

    def to_native(self, arrays: Mapping[str, np.ndarray], weights: Mapping[str, Weight]) -> Arrays:
        """Return the canonical arrays of all `weights` under native names, each contiguous in memory."""
        return {
            self.name(name, weight): np.asarray(self.to_native_axes(arrays[name], weight), order="C")
            for name, weight in weights.items()
        }

    def to_canonical(self, arrays: Mapping[str, np.ndarray], weights: Mapping[str, Weight]) -> Arrays:
        """Return native arrays under canonical names, each contiguous in memory.

        An array that belongs to no weight keeps its name, and a missing one is left out;
        repro.weights.strict.check_weights reports both.
        """
        canonical_names = {self.name(name, weight): name for name, weight in weights.items()}
        canonical: Arrays = {}
        for native_name, array in arrays.items():
            name = canonical_names.get(native_name)
            if name is None:
                canonical[native_name] = array
            else:
                canonical[name] = np.asarray(self.to_canonical_axes(array, weights[name]), order="C")
        return canonical
