"""The networks as data: frozen block configs, one file per family, and a literal catalogue of the variants."""

from repro.specs.base import LEAVES, STATISTICS, OperatorCost, Padding, Shape, Spec, Trace, Weight, WeightKind
from repro.specs.catalogue import CATALOGUE, find_spec, smallest_variants

__all__ = [
    "CATALOGUE",
    "LEAVES",
    "STATISTICS",
    "OperatorCost",
    "Padding",
    "Shape",
    "Spec",
    "Trace",
    "Weight",
    "WeightKind",
    "find_spec",
    "smallest_variants",
]  # fmt: skip
