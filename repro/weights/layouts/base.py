"""A layout: how a publisher names and shapes the weights of some of our variants."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, cast

import numpy as np

from repro.arrays import Arrays
from repro.interface.native_names import NativeNames
from repro.specs import Spec, Weight

CONV_NORM = {"conv": "0", "norm": "1"}  # places in a sequence of the two, which many publishers have


def place(spec: Spec, number: str, index: str) -> int:
    """Blocks ahead of stages.number.index, for publishers that count on from stage to stage."""
    stages = cast(Any, spec).stages
    return sum(len(stage) for stage in stages[: int(number)]) + int(index)


def unchanged(name: str, spec: Spec) -> str:
    """The renaming of a layout that keeps the canonical names."""
    return name


@dataclass(frozen=True)
class Layout:
    """publisher: the word for `repro.port --from` and `--to`; format: whose files hold it, a backend's or "keras".

    models: our variants that the publisher has -> what it calls them. rename: (canonical name, spec) -> the publisher's
    name; what the format makes of its last part and of the axes is left to NativeNames. kernels: canonical names of
    linear layers kept as convolutions -> their kernel, and of 1x1 convolutions kept as linear layers -> ().
    options: settings with which our variants compute the same as the publisher's, where the published ones differ.
    note: what the publisher's network does in another way, so that logits differ in spite of equal weights.
    """

    publisher: str
    format: str
    models: Mapping[str, str]
    rename: Callable[[str, Spec], str] = unchanged
    kernels: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    options: Mapping[str, object] = field(default_factory=dict)
    note: str = ""

    def names(self, spec: Spec, native: NativeNames) -> dict[str, str]:
        """Canonical name -> name in the publisher's file."""
        return {name: native.name(self.rename(name, spec), weight) for name, weight in spec.weights.items()}

    def shapes(self, spec: Spec, native: NativeNames) -> dict[str, tuple[int, ...]]:
        """Name in the publisher's file -> shape there."""
        names = self.names(spec, native)
        stored = {name: self.stored(name, weight) for name, weight in spec.weights.items()}
        return {names[name]: native.native_shape(weight) for name, weight in stored.items()}

    def fitted(self, spec: Spec, native: NativeNames, arrays: Mapping[str, np.ndarray]) -> Spec:
        """The spec with the classes of the arrays' last linear layer and the channels of their first convolution, as
        far as these are there and not misshapen."""

        def side(name: str, axis: int, default: int) -> int:
            weight = spec.weights[name]
            array = arrays.get(native.name(self.rename(name, spec), weight))
            if array is None:
                return default
            turned = self.canonical(name, array, weight, native)
            return turned.shape[axis] or default if turned.ndim == len(weight.shape) else default

        stem = next(name for name, weight in spec.weights.items() if weight.kind == "conv")  # not grouped
        return replace(
            spec, num_classes=side(spec.classifier, 0, spec.num_classes), in_channels=side(stem, 1, spec.in_channels)
        )

    def published(self, arrays: Mapping[str, np.ndarray], spec: Spec, native: NativeNames) -> Arrays:
        """Canonical arrays as the publisher has them: views, not copies."""
        names = self.names(spec, native)
        found = {}
        for name, array in arrays.items():
            stored = self.stored(name, spec.weights[name])
            found[names[name]] = native.to_native_axes(array.reshape(stored.shape), stored)
        return found

    def canonical(self, name: str, array: np.ndarray, weight: Weight, native: NativeNames) -> np.ndarray:
        """A publisher's array in canonical axes; as it is where its number of axes is none that the kind could have."""
        stored = self.stored(name, weight)
        if array.ndim != len(stored.shape):
            return array
        turned = native.to_canonical_axes(array, stored)
        if stored is weight or turned.shape[1:] != stored.shape[1:]:
            return turned
        return turned.reshape(turned.shape[:1] + weight.shape[1:])

    def stored(self, name: str, weight: Weight) -> Weight:
        """The weight as the publisher has it, in canonical axes."""
        if name not in self.kernels:
            return weight
        kernel = self.kernels[name]
        out = weight.shape[0]
        channels = weight.size // (out * prod(kernel))
        return replace(weight, kind="conv" if kernel else "linear", shape=(out, channels, *kernel))
