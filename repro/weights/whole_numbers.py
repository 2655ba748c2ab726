"""Weights and inputs on which every sum of a network is exact in float32, in whatever order it is added up.

Weights are whole numbers, and inputs are multiples of 9/8 with at most 12 bits: the sums of their products are
multiples of 1/8 below 2 ** 24 of them, so that no sum is ever rounded. Inputs are multiples of 9 because windows of 3x3
and the hard sigmoid divide by 9 and 6. Numbers of 12 bits do not fit into TF32, bfloat16 or float16.
"""

from __future__ import annotations

import math
import zlib
from functools import lru_cache

import numpy as np

from repro.arrays import Arrays
from repro.errors import ReproError
from repro.specs import Spec, Weight
from repro.weights.init import seeded_generator

UNIT = 9 / 8
LARGEST_INPUT = 341  # in units: 3069 eighths need 12 bits
SMALL_INPUT = 6  # in units: the smaller half of the inputs, since ReLU6 and the hard swish bend up to this value
MEAN_INPUT, RMS_INPUT = 790, 1265  # mean and root mean square of the absolute values of inputs, in eighths
SPREAD = 6
LARGEST_MEAN, LARGEST_SHIFT = 300, 2**17  # eighths; the shift of a convolution or a normalisation is its bias
POOL_SIZE = 65_521  # numbers that inputs repeat; a prime, so that no axis of an array repeats with them


def whole_inputs(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Float32 multiples of UNIT, which depend on the name, the shape and the seed only.

    Half of them are small, where ReLU6 and the hard swish bend; three quarters are positive, so that sums grow large.
    """
    start, size = zlib.crc32(name.encode()) % POOL_SIZE, math.prod(shape)
    repetitions = 2
    while start + size > repetitions * POOL_SIZE:
        repetitions *= 2
    return _input_pool(seed, repetitions)[start : start + size].reshape(shape)


@lru_cache(maxsize=4)
def _input_pool(seed: int, repetitions: int) -> np.ndarray:
    rng = np.random.default_rng([seed, POOL_SIZE])
    largest = np.where(rng.random(POOL_SIZE) < 0.5, SMALL_INPUT, LARGEST_INPUT)
    numbers = rng.integers(0, largest + 1) * rng.choice([-1, 1, 1, 1], POOL_SIZE)
    return np.tile((UNIT * numbers).astype(np.float32), repetitions)


def whole_weights(spec: Spec, seed: int) -> Arrays:
    """Canonical weights of whole numbers and eighths; a running variance plus epsilon is a power of four.

    They are float32, with float64 for the variances, which a model in float64 adds to epsilon without rounding, too.
    """
    return {name: _whole_weight(name, weight, spec.norm_eps, seed) for name, weight in spec.weights.items()}


def magnitudes(weights: Arrays, spec: Spec) -> Arrays:
    """Weights with which a network computes the sums of the absolute values of what it adds up."""
    signs = {"norm_mean": -1}  # means are subtracted
    return {name: signs.get(spec.weights[name].kind, 1) * np.abs(array) for name, array in weights.items()}


def _whole_weight(name: str, weight: Weight, eps: float, seed: int) -> np.ndarray:
    rng, shape = seeded_generator(seed, name), weight.shape
    if weight.kind in ("conv", "linear"):
        return _whole_kernel(rng, shape)
    if weight.kind == "norm_var":
        return rng.choice(exact_variances(eps), shape)
    signs = rng.choice([-1, 1], shape)
    if weight.kind in ("norm_scale", "layer_scale"):  # even, since a standard deviation may be 2
        return (signs * 2 * rng.integers(1, 16, shape)).astype(np.float32)
    largest = LARGEST_MEAN if weight.kind == "norm_mean" else LARGEST_SHIFT
    return (signs * rng.integers(1, largest, shape, endpoint=True) / 8).astype(np.float32)


def _whole_kernel(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """A kernel (out, ...) as large as sums allow. Every other row is positive, and its sums are the largest."""
    values = rng.integers(0, _largest_weight(math.prod(shape[1:])), shape, np.int16, endpoint=True)
    values[::2] *= rng.choice(np.array([-1, 1], np.int16), values[::2].shape)
    return values.astype(np.float32)


def _largest_weight(fan_in: int) -> int:
    """The largest weight for which the sums of absolute products stay below 2 ** 24 eighths.

    The mean of such a sum, and SPREAD times its standard deviations over rows and over inputs, stay below. Weights are
    uniform: their mean is 0.5, their standard deviation 0.29 and their root mean square 0.58 of the largest.
    """
    spread = SPREAD * math.sqrt(fan_in)
    sum_per_weight = (0.5 * fan_in + 0.29 * spread) * MEAN_INPUT + 0.58 * spread * RMS_INPUT
    return max(1, int((2**24 - LARGEST_SHIFT) / sum_per_weight))


def exact_variances(eps: float) -> np.ndarray:
    """Float64 variances that give a power of four with epsilon. As float32 numbers they do so in float32, too.

    Raises ReproError where there is none, so that a framework's rounding would decide.
    """
    powers = [power for power in (0.25, 1.0, 4.0) if np.float32(power - eps) + np.float32(eps) == power]
    if not powers:
        raise ReproError(f"no variance and the epsilon {eps} add up to a power of four in float32")
    return np.array(powers) - eps
