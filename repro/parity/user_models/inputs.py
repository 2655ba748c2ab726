"""Inputs and weights with which user models are compared."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from repro.arrays import Arrays
from repro.errors import ReproError
from repro.specs import Spec

INPUT = re.compile(r"(?:(int32|int64):)?([1-9]\d{0,8}(?:,[1-9]\d{0,8})*)(?:<([1-9]\d{0,8}))?")

# Size of small signals. Their variances, about 1e-5, are of the size of the epsilons that are added to them, so that
# 1e-6 in place of 1e-5, or 1e-7 in place of 1e-6, changes a normalisation by far more than rounding
SMALL = 3e-3
SMALL_KINDS = {"bias": SMALL, "norm_scale": SMALL, "norm_shift": SMALL, "norm_mean": SMALL, "norm_var": SMALL**2}


@dataclass(frozen=True)
class InputSpec:
    """An input of a user model: its shape, dtype and, for integers, the number of different values, from 0."""

    shape: tuple[int, ...]
    dtype: str = "float32"
    values: int = 0

    @property
    def is_float(self) -> bool:
        """Return whether the input has floating-point numbers."""
        return self.dtype == "float32"

    def random(self, rng: np.random.Generator) -> np.ndarray:
        """Return an array from a standard normal distribution, or of integers that are equally likely."""
        if self.is_float:
            return rng.standard_normal(self.shape, np.float32)
        return rng.integers(0, self.values, self.shape).astype(self.dtype)

    def __str__(self) -> str:
        shape = ",".join(map(str, self.shape))
        return shape if self.is_float else f"{self.dtype}:{shape}<{self.values}"


Inputs = tuple[InputSpec, ...]


def parse_inputs(texts: Sequence[str]) -> Inputs:
    """Return the inputs that are written as "2,3,64,64" or "int64:2,16<1000". Raises ReproError for other texts."""
    inputs = []
    for text in texts:
        match = INPUT.fullmatch(str(text))
        dtype, shape, values = match.groups() if match else ("", "", "")
        if not match or (dtype is None) != (values is None):
            raise ReproError(f"--input is {text!r}; give a shape, such as 2,3,64,64, or int64:2,16<1000 for integers")
        sides = tuple(map(int, shape.split(",")))
        inputs.append(InputSpec(sides, dtype, int(values)) if dtype else InputSpec(sides))
    return tuple(inputs)


def input_name(index: int) -> str:
    """Return the name of an input among the arrays of a request: "images" for the first one, then "input 2"."""
    return f"input {index + 1}" if index else "images"


def random_inputs(inputs: Inputs, seed: int, attempt: int) -> Arrays:
    """The inputs of an attempt by name."""
    arrays = {}
    for index, spec in enumerate(inputs):
        rng = np.random.default_rng([*spec.shape, seed, attempt] + [index] * (index > 0))
        arrays[input_name(index)] = spec.random(rng)
    return arrays


def with_batch(inputs: Inputs, least: int) -> Inputs:
    """The inputs with at least this batch size, in every input that has the batch of the first one."""
    batch = inputs[0].shape[0]
    return tuple(
        replace(spec, shape=(max(batch, least), *spec.shape[1:])) if spec.shape[0] == batch else spec for spec in inputs
    )


def perturbed_name(inputs: Inputs, weights: Iterable[str]) -> str:
    """The name of the array whose last bits are changed: the first input with fractions, or else the first weight."""
    indices = [index for index, spec in enumerate(inputs) if spec.is_float]
    return input_name(indices[0]) if indices else f"weights/{next(iter(weights))}"


def small_signals(inputs: Inputs, weights: Arrays, spec: Spec, seed: int, attempt: int) -> Arrays:
    """Inputs of size SMALL, and weights/NAME of each of the weights that must change for signals to stay that small."""
    arrays = random_inputs(inputs, seed, attempt)
    for index, of_input in enumerate(inputs):
        if of_input.is_float:
            arrays[input_name(index)] *= np.float32(SMALL)
    for name, array in weights.items():
        weight = spec.weights[name]
        is_vector = weight.kind == "other" and len(weight.shape) != 2  # a user's own normalisation, or an embedding
        factor = SMALL if is_vector else SMALL_KINDS.get(weight.kind, 1.0)
        if factor != 1:
            arrays[f"weights/{name}"] = np.float32(factor) * array
    return arrays
