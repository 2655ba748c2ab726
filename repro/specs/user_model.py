"""The spec of a user model, which is known only by its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from repro.specs.base import Spec, Trace, Weight


@dataclass(frozen=True, kw_only=True)
class UserModelSpec(Spec):
    """The weights of a model that is not from this repository; it has no walk.

    weights_by_name: the framework's name in canonical form -> shape and kind, in the order of registration; owners: the
    same name -> the path of the module that owns the weight ("" for the model itself); frozen: the weights that the
    model's function has excluded from training; aliases: weight -> its further names, where modules share it.
    """

    weights_by_name: Mapping[str, Weight]
    owners: Mapping[str, str]
    frozen: frozenset[str] = frozenset()
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    family: str = "user model"
    source: str = "the user"
    input_size: int = 1
    init: str = ""

    def trace(self, size: int | None = None) -> Trace:
        """The weights, with every module that owns one as a stage of unknown shape."""
        return Trace(weights=dict(self.weights_by_name), stages={owner: () for owner in self.owners.values() if owner})
