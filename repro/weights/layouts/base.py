"""A layout: how a publisher names and shapes the weights of some variants."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, cast

import numpy as np

from repro.arrays import Arrays
from repro.interface.native_names import NativeNames
from repro.specs import Spec, Weight

CONV_NORM = {"conv": "0", "norm": "1"}  # positions in a sequence of convolution and normalisation


def block_index(spec: Spec, stage: str, index: str) -> int:
    """Return the index of the block stages.STAGE.INDEX among the blocks of all stages."""
    stages = cast(Any, spec).stages
    return sum(len(blocks) for blocks in stages[: int(stage)]) + int(index)


def unchanged(name: str, spec: Spec) -> str:
    """Return the canonical name: the renaming of a layout that keeps it."""
    return name


@dataclass(frozen=True)
class Layout:
    """The names and shapes that a publisher's files have for some variants.

    publisher: the word for `repro.port --from` and `--to`. format: the backend whose files hold the layout, or "keras".
    models: variant of this repository -> the publisher's name of it; empty for this repository's own layouts.
    rename: (canonical name, spec) -> the publisher's name; NativeNames then translates its last component and the axes.
    kernels: canonical name -> kernel, for linear layers that the publisher keeps as convolutions; () for 1x1
    convolutions that it keeps as linear layers.
    flattened: canonical names among the kernels that the publisher keeps with all axes but that of the outputs as one.
    options: options of the variant with which it computes what the publisher's network does.
    note: a difference that no option removes, so that the logits differ although the weights are equal.
    lookalikes: variant -> another network of the publisher that computes something else with arrays of the same names
    and shapes, so that a file does not show which of the two it is for.
    """

    publisher: str
    format: str
    models: Mapping[str, str]
    rename: Callable[[str, Spec], str] = unchanged
    kernels: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    flattened: tuple[str, ...] = ()
    options: Mapping[str, object] = field(default_factory=dict)
    note: str = ""
    lookalikes: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_published(self) -> bool:
        """Return whether the layout comes from another publisher than this repository."""
        return bool(self.models)

    def names(self, spec: Spec, native: NativeNames) -> dict[str, str]:
        """Return canonical name -> name in the publisher's file."""
        return {name: native.name(self.rename(name, spec), weight) for name, weight in spec.weights.items()}

    def shapes(self, spec: Spec, native: NativeNames) -> dict[str, tuple[int, ...]]:
        """Return name in the publisher's file -> shape in the file."""
        names = self.names(spec, native)
        return {names[name]: self._shape(name, weight, native) for name, weight in spec.weights.items()}

    def _shape(self, name: str, weight: Weight, native: NativeNames) -> tuple[int, ...]:
        """Return the shape of a weight in the publisher's file."""
        shape = native.native_shape(self.stored_weight(name, weight))
        return (prod(shape[:-1]), shape[-1]) if name in self.flattened else shape

    def fitted_spec(self, spec: Spec, native: NativeNames, arrays: Mapping[str, np.ndarray]) -> Spec:
        """Return the spec with the numbers of classes and of input channels that the publisher's arrays have.

        They are the sides of the classifier and of the first convolution; where one of these is missing or has another
        number of axes, the spec's own number stays.
        """

        def side(name: str, axis: int, default: int) -> int:
            weight = spec.weights[name]
            array = arrays.get(native.name(self.rename(name, spec), weight))
            if array is None:
                return default
            canonical = self.to_canonical(name, array, weight, native)
            return canonical.shape[axis] or default if canonical.ndim == len(weight.shape) else default

        return replace(
            spec,
            num_classes=side(spec.classifier, 0, spec.num_classes),
            in_channels=side(spec.first_conv, 1, spec.in_channels),
        )

    def with_classifier(
        self, arrays: Mapping[str, np.ndarray], spec: Spec, native: NativeNames
    ) -> Mapping[str, np.ndarray]:
        """Return the arrays of a Keras file in which the classifier has the layout's name.

        Whoever puts a head on a network of Keras also names it. The layer is renamed if it is the only one that the
        layout does not know, and has the shapes of a classifier; otherwise the arrays are returned as they are.
        """
        names = self.names(spec, native)
        classifier, _, leaf = names[spec.classifier].rpartition(".")
        unknown = {name.rpartition(".")[0] for name in arrays.keys() - set(names.values())}
        if self.format != "keras" or len(unknown) != 1 or names[spec.classifier] in arrays:
            return arrays
        layer = unknown.pop()
        kernel = arrays.get(f"{layer}.{leaf}")
        if kernel is None or not kernel.ndim or not kernel.size:
            return arrays
        shapes = self.shapes(replace(spec, num_classes=kernel.shape[-1]), native)
        renamed = {
            f"{classifier}.{name.rpartition('.')[2]}" if name.startswith(f"{layer}.") else name: array
            for name, array in arrays.items()
        }
        head = [name for name in shapes | renamed if name.startswith(f"{classifier}.")]
        return renamed if all(name in renamed and renamed[name].shape == shapes.get(name) for name in head) else arrays

    def to_published(self, arrays: Mapping[str, np.ndarray], spec: Spec, native: NativeNames) -> Arrays:
        """Return canonical arrays under the publisher's names and in its shapes, as views unless flattened."""
        names = self.names(spec, native)
        published = {}
        for name, array in arrays.items():
            stored = self.stored_weight(name, spec.weights[name])
            turned = native.to_native_axes(array.reshape(stored.shape), stored)
            published[names[name]] = turned.reshape(self._shape(name, spec.weights[name], native))
        return published

    def to_canonical(self, name: str, array: np.ndarray, weight: Weight, native: NativeNames) -> np.ndarray:
        """Return a publisher's array with canonical axes, as a view.

        name: the canonical name. An array with a wrong number of axes is returned as it is.
        """
        stored = self.stored_weight(name, weight)
        if name in self.flattened and array.shape == self._shape(name, weight, native):
            array = array.reshape(native.native_shape(stored))
        if array.ndim != len(stored.shape):
            return array
        turned = native.to_canonical_axes(array, stored)
        if stored is weight or turned.shape[1:] != stored.shape[1:]:
            return turned
        return turned.reshape(turned.shape[:1] + weight.shape[1:])

    def stored_weight(self, name: str, weight: Weight) -> Weight:
        """Return the weight with the kind and shape that the publisher keeps it in, before axes are transposed."""
        if name not in self.kernels:
            return weight
        kernel = self.kernels[name]
        out = weight.shape[0]
        channels = weight.size // (out * prod(kernel))
        return replace(weight, kind="conv" if kernel else "linear", shape=(out, channels, *kernel))
