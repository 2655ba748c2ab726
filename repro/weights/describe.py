"""A model that is not ours in canonical terms, from what its framework holds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from repro.interface.native_names import NativeNames
from repro.specs import Weight
from repro.specs.user_model import UserModelSpec


class FrameworkArray(NamedTuple):
    """One array. layer: path of the module that owns it; type: of that, "conv", "linear", "norm", or "" for another;
    leaf: what the module calls it; name: in full, as the framework's state does; trained: and no buffer."""

    layer: str
    type: str
    leaf: str
    name: str
    shape: Iterable[int]
    groups: int
    trained: bool


def describe_user_model(
    title: str, names: NativeNames, parts: Iterable[FrameworkArray], momentum: float
) -> UserModelSpec:
    """The weights among the parts: all that is trained, and the running statistics of the normalisations we know. The
    other buffers stay as the model made them. momentum: of the normalisations, as torch counts."""
    described, layers = {}, {}
    for part in parts:
        known = part.name.rpartition(".")[2] == part.leaf  # MindSpore's names may be the user's
        leaf, kind = names.canonical_leaf(part.leaf, part.type if known else "")
        if kind == "other" and not part.trained:
            continue
        name = part.name.removesuffix(part.leaf) + leaf if kind != "other" else part.name
        shape = tuple(map(int, part.shape))
        axes = names.axes.get(kind)
        if axes:
            shape = tuple(shape[axis] for axis in np.argsort(axes))
        described[name] = Weight(shape, kind, part.groups if kind == "conv" else 1)
        layers[name] = part.layer
    return UserModelSpec(name=title, weights_by_name=described, owners=layers, norm_momentum=momentum)
