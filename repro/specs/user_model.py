"""A model that is not ours: no walk, but what the framework that holds it says of its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from repro.specs.base import Spec, Trace, Weight


@dataclass(frozen=True, kw_only=True)
class UserModelSpec(Spec):
    """described: canonical form of the framework's own name -> weight, in the order of registration; layers: of each
    weight, the path of the module that owns it ("" for the model itself)."""

    described: Mapping[str, Weight]
    layers: Mapping[str, str]
    family: str = "foreign"
    source: str = "the user"
    input_size: int = 1
    init: str = ""

    def trace(self, size: int | None = None) -> Trace:
        """The weights, and the modules that own them as stages, whose shapes nobody knows."""
        return Trace(weights=dict(self.described), stages={layer: () for layer in self.layers.values() if layer})
