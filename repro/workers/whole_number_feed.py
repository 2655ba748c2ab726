"""Results of modules that compute on whole numbers: a digest of each, and what shows that it is exact."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np

from repro.arrays import Arrays
from repro.interface.module_outputs import unique_name
from repro.weights.whole_numbers import whole_inputs

LARGEST_FRACTION = 20  # bits after the binary point that an exact result may have


@dataclass(frozen=True)
class ModuleResult:
    """An array that enters or leaves a module.

    digest: hash of its shape and its values in float32, "" where sums of absolute values are computed. In float64 also:
    largest, the largest absolute value; fraction, the number of bits after the binary point, None where it has no end;
    is_computed, whether it is more than an array of the feed that was passed on.
    """

    name: str
    digest: str = ""
    largest: float = 0.0
    fraction: int | None = None
    is_computed: bool = True


@dataclass
class WholeNumberFeed:
    """A feed of whole numbers, which describes what enters and leaves each module.

    seed: that of the numbers; sums: feed their absolute values; selected: names of the results that are kept as arrays.
    """

    seed: int
    sums: bool = False
    selected: Collection[str] = ()
    results: list[ModuleResult] = field(default_factory=list)
    arrays: Arrays = field(default_factory=dict)
    _names: dict[str, None] = field(default_factory=dict)
    _fed: set[str] = field(default_factory=set)

    def __call__(self, name: str, array: np.ndarray) -> np.ndarray:
        """Describe the result of this name, and return the numbers that take its place."""
        name = unique_name(name, self._names)
        self._names[name] = None
        if name in self.selected:
            self.arrays[name] = array.copy()
        numbers = whole_inputs(name, array.shape, self.seed)
        self.results.append(self._describe(name, array))
        if self.sums:
            numbers = np.abs(numbers)
        elif array.dtype == np.float64:
            self._fed.add(_digest(numbers))
        return numbers.astype(array.dtype)

    def _describe(self, name: str, array: np.ndarray) -> ModuleResult:
        if self.sums:
            return ModuleResult(name, largest=_largest(array))
        digest = _digest(array)
        if array.dtype != np.float64:
            return ModuleResult(name, digest)
        return ModuleResult(name, digest, _largest(array), _fraction_bits(array), digest not in self._fed)


def _largest(array: np.ndarray) -> float:
    return float(np.abs(array).max(initial=0.0))


def _digest(array: np.ndarray) -> str:
    """The digest of the shape and of the values in float32, in which 0 has no sign."""
    values = array.astype(np.float32, order="C")
    values += 0
    digest = hashlib.blake2b(repr(array.shape).encode(), digest_size=16)
    digest.update(values.data)
    return digest.hexdigest()


def _fraction_bits(array: np.ndarray) -> int | None:
    """The number of bits after the binary point; None for more than LARGEST_FRACTION."""
    values, bits = array.reshape(-1), 0
    for part in (values[:256], values):  # most fractions without end are among the first values
        while not np.array_equal(scaled := np.ldexp(part, bits), np.rint(scaled)):
            bits += 1
            if bits > LARGEST_FRACTION:
                return None
    return bits
