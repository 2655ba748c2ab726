"""Initial weights, drawn in NumPy so that every backend starts from the same arrays."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable

import numpy as np

from repro.errors import ReproError
from repro.specs import Spec, Weight

Arrays = dict[str, np.ndarray]
Rule = Callable[[np.random.Generator, Weight], np.ndarray]


def _fans(weight: Weight) -> tuple[int, int]:
    """Inputs and outputs of one position of the kernel: (in / groups * kh * kw, out * kh * kw)."""
    out, per_group, *kernel = weight.shape
    area = math.prod(kernel)
    return per_group * area, out * area


def _normal(rng: np.random.Generator, weight: Weight, std: float) -> np.ndarray:
    return rng.standard_normal(weight.shape) * std


def msra_prelu(rng: np.random.Generator, weight: Weight) -> np.ndarray:
    """MXNet's MSRAPrelu() (factor_type avg, slope 0.25), which the authors' training code for AsymmNet uses."""
    return _normal(rng, weight, math.sqrt(2 / (1 + 0.25**2) / (sum(_fans(weight)) / 2)))


def kaiming_fan_out(rng: np.random.Generator, weight: Weight) -> np.ndarray:
    """torchvision's MobileNets: He et al. (arXiv:1502.01852) over the fan out; linear layers N(0, 0.01)."""
    return _normal(rng, weight, 0.01 if weight.kind == "linear" else math.sqrt(2 / _fans(weight)[1]))


RULES: dict[str, Rule] = {"msra_prelu": msra_prelu, "kaiming_fan_out": kaiming_fan_out}
CONSTANTS = {"bias": 0.0, "norm_scale": 1.0, "norm_shift": 0.0, "norm_mean": 0.0, "norm_var": 1.0, "layer_scale": 1e-6}


def _generator(seed: int, name: str) -> np.random.Generator:
    """A stream of its own for each name, so that a weight's values do not depend on its neighbours."""
    if seed < 0:
        raise ReproError(f"seed must be at least 0, not {seed}")
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def initialise(spec: Spec, seed: int) -> Arrays:
    """Canonical float32 weights as the paper's code draws them (spec.init)."""
    rule = RULES[spec.init]
    return {
        name: np.full(weight.shape, CONSTANTS[weight.kind], np.float32)
        if weight.kind in CONSTANTS
        else rule(_generator(seed, name), weight).astype(np.float32)
        for name, weight in spec.weights.items()
    }


def scramble(spec: Spec, seed: int) -> Arrays:
    """Canonical float32 weights for comparisons: no two channels alike and no scale 1 or shift 0, so that a permuted,
    forgotten or exchanged array shows."""
    arrays = {}
    for name, weight in spec.weights.items():
        rng = _generator(seed, name)
        if weight.kind in ("norm_scale", "norm_var", "layer_scale"):
            values = rng.uniform(0.5, 1.5, weight.shape)
        elif weight.kind in CONSTANTS:
            values = rng.normal(0, 0.2, weight.shape)
        else:
            values = _normal(rng, weight, math.sqrt(2 / _fans(weight)[0]))
        arrays[name] = values.astype(np.float32)
    return arrays
