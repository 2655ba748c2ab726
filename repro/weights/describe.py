"""The description of a user model in canonical terms, made from the arrays that its framework holds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from repro.interface.native_names import NativeNames
from repro.specs import STATISTICS, Weight, WeightKind
from repro.specs.user_model import UserModelSpec
from repro.weights.weight_pairs import long_sides

# Last component of a name in a user's own normalisation -> kind
OWN_NORM_LEAVES: dict[str, WeightKind] = {
    "weight": "norm_scale", "scale": "norm_scale", "gamma": "norm_scale",
    "bias": "norm_shift", "beta": "norm_shift", "shift": "norm_shift",
}  # fmt: skip


class FrameworkArray(NamedTuple):
    """A parameter or buffer of a model, as its framework describes it.

    layer: the path of the module that owns it. type: the module's type, "conv", "linear", "norm", or "" for another.
    class_name: that of the module, which shows a normalisation that the user wrote.
    leaf: the module's name of the array. name: its name in the framework's state dict. groups: those of a convolution.
    is_parameter: whether it is a parameter, and not a buffer. trained: whether its gradient is computed. aliases:
    further names, where modules share it.
    """

    layer: str
    type: str
    class_name: str
    leaf: str
    name: str
    shape: Iterable[int]
    groups: int
    is_parameter: bool
    trained: bool
    aliases: tuple[str, ...] = ()


def describe_user_model(
    title: str, names: NativeNames, arrays: Iterable[FrameworkArray], momentum: float
) -> UserModelSpec:
    """Return a spec with the trained arrays and the running statistics of known normalisations.

    Other buffers are left out and keep the values that the model gave them.
    title: the name of the spec. momentum: that of the normalisations, in torch's convention.
    """
    described, layers, frozen, aliases = {}, {}, set(), {}
    for array in arrays:
        # MindSpore lets users rename parameters; the leaf then does not show the kind
        is_standard_name = array.name.rpartition(".")[2] == array.leaf
        leaf, kind = names.canonical_leaf(array.leaf, array.type if is_standard_name else "")
        if kind == "other" and not array.is_parameter:
            continue
        name = array.name.removesuffix(array.leaf) + leaf if kind != "other" else array.name
        shape = tuple(map(int, array.shape))
        if kind == "other" and array.is_parameter and len(long_sides(shape)) < 2 and "norm" in array.class_name.lower():
            own_kind = OWN_NORM_LEAVES.get(array.leaf, "other")
            if names.name(name, Weight(shape, own_kind)) == name:  # else the name would show another kind
                kind = own_kind
        axes = names.axes.get(kind)
        if axes:
            shape = tuple(shape[axis] for axis in np.argsort(axes))
        described[name] = Weight(shape, kind, array.groups if kind == "conv" else 1)
        layers[name] = array.layer
        if kind not in STATISTICS and not array.trained:
            frozen.add(name)
        if array.aliases:
            aliases[name] = array.aliases
    return UserModelSpec(
        name=title, weights_by_name=described, owners=layers, norm_momentum=momentum, frozen=frozenset(frozen),
        aliases=aliases,
    )  # fmt: skip
