"""What the networks are: frozen block configs, one file per family, and a literal catalogue of the variants."""

from repro.specs.base import LEAVES, STATISTICS, Kind, Operator, Padding, Shape, Spec, Trace, Weight
from repro.specs.catalogue import CATALOGUE, find_spec, smallest

__all__ = [
    "CATALOGUE", "LEAVES", "STATISTICS", "Kind", "Operator", "Padding", "Shape", "Spec", "Trace", "Weight", "find_spec",
    "smallest",
]  # fmt: skip
