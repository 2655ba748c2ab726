"""How large an error may be and still count as rounding, measured for each array on the reference framework.

The float32 runs of that framework, one with the inputs as they are and others with the last bits of the inputs
changed, are compared with its own float64 run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

# Tolerance as a multiple of the reference's largest float32 error. The largest multiple seen in a sound backend was
# 7.6, in Paddle's sums of 25,088 products (VGG's first linear layer)
LARGEST_ERROR_FACTOR = 16.0
# Tolerance of a mode of lower precision, as a multiple of the reference's largest error with weights and inputs rounded
# to it. The mode rounds every result, too; compared with that, sums in another order add little
PRECISION_ERROR_FACTOR = 4.0
# Bits of the significand after the leading one
FRACTION_BITS = {"bfloat16": 7, "float16": 10}
# Tolerance as a multiple of the root mean square of the float32 errors, where there is only one float32 run: the
# largest error of many elements, added up in another order, stays within it
RMS_ERROR_FACTOR = 64.0
# Least tolerance relative to the root mean square of the array, since a float32 run may be exact by chance
LEAST_RELATIVE_TOLERANCE = 64 * float(np.finfo(np.float32).eps)
# Largest error that may count as rounding however large rounding was measured: root mean square of the errors relative
# to that of the array. The tolerances of gradients reach 5 times the array in ResNet-50 with a batch of four, where one
# value on the other side of a ReLU's kink changes many others, and within them a wrong model would pass. The float32
# errors of gradients, the best of three attempts, are 3.6 % at most in ResNet-101, 1.2 % in ResNet-50 and 0.2 % in
# DenseNet-169
CEILING = 0.1
# An array that would be 0 without rounding, such as the gradient of a bias before batch normalisation, is measured by
# the largest array of its computation instead. Such gradients had tolerances of up to 3e-6 of the largest
CANCELLED_SHARE = 1e-3


def perturb_last_bits(array: np.ndarray, seed: int) -> np.ndarray:
    """A copy of the array in which the last bit of every number is moved up or down."""
    up = np.random.default_rng(seed).random(array.shape) < 0.5
    return np.nextafter(array, np.where(up, np.inf, -np.inf).astype(array.dtype))


def round_to(precision: str, array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The array, float32, with as many bits as a precision of FRACTION_BITS has, rounded up or down by chance."""
    dropped = np.uint32(1 << (np.finfo(np.float32).nmant - FRACTION_BITS[precision]))
    bits = np.asarray(array, np.float32).view(np.uint32)
    noise = rng.integers(0, dropped, array.shape, np.uint32)
    return ((bits + noise) & ~(dropped - np.uint32(1))).view(np.float32)


def single_run_tolerance(float32_run: np.ndarray, float64_run: np.ndarray) -> float:
    """The tolerance of one array, from a single float32 run of the reference; 0 where that run is broken."""
    if float32_run.shape != float64_run.shape:
        return 0.0
    error = root_mean_square(float32_run - float64_run)
    least = float(np.finfo(np.float32).eps) * root_mean_square(float64_run)  # a run may be exact by chance
    return RMS_ERROR_FACTOR * max(error, least) if np.isfinite(error) else 0.0


def measure_tolerances(
    float32_runs: Sequence[Mapping[str, np.ndarray]], float64_run: Mapping[str, np.ndarray],
    factor: float = LARGEST_ERROR_FACTOR,
) -> dict[str, float]:  # fmt: skip
    """The tolerance of each array by name, from several float32 runs of the reference; 0 where a run is broken.

    factor: the tolerance as a multiple of their largest error.
    """
    tolerances = {}
    for name, exact in float64_run.items():
        largest = float(max(np.abs(run[name] - exact).max(initial=0.0) for run in float32_runs))
        least = LEAST_RELATIVE_TOLERANCE * root_mean_square(exact)
        tolerances[name] = max(factor * largest, least) if np.isfinite(largest) else 0.0
    return tolerances


def measure_ceilings(float64_run: Mapping[str, np.ndarray], share: float) -> dict[str, float]:
    """The largest error of each array by name: a share of its root mean square, or of a little of the largest one."""
    sizes = {name: root_mean_square(array) for name, array in float64_run.items()}
    largest = max(sizes.values(), default=0.0)
    return {name: share * max(size, CANCELLED_SHARE * largest) for name, size in sizes.items()}


def cancelled_rounding(precision: str, float64_run: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The largest value that a precision may leave in each array that would be 0 without rounding, by name.

    It is 0 for the other arrays.
    """
    sizes = {name: root_mean_square(array) for name, array in float64_run.items()}
    largest = max(sizes.values(), default=0.0)
    rounding = PRECISION_ERROR_FACTOR * 2.0 ** -FRACTION_BITS[precision] * largest
    return {name: rounding if size < CANCELLED_SHARE * largest else 0.0 for name, size in sizes.items()}


def root_mean_square(array: np.ndarray) -> float:
    """The root mean square of an array; 0 for an empty one."""
    return 0.0 if not array.size else float(np.sqrt(np.mean(np.square(array))))
