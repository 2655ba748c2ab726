"""Inputs and weights with which user models are compared."""

from __future__ import annotations

import numpy as np

from repro.arrays import Arrays
from repro.specs import Spec

# Size of small signals. Their variances, about 1e-5, are of the size of the epsilons that are added to them, so that
# 1e-6 in place of 1e-5, or 1e-7 in place of 1e-6, changes a normalisation by far more than rounding
SMALL = 3e-3
SMALL_KINDS = {"bias": SMALL, "norm_scale": SMALL, "norm_shift": SMALL, "norm_mean": SMALL, "norm_var": SMALL**2}


def random_images(shape: tuple[int, ...], seed: int, attempt: int) -> Arrays:
    """The "images" of an attempt, from a standard normal distribution."""
    return {"images": np.random.default_rng([*shape, seed, attempt]).standard_normal(shape, np.float32)}


def random_batch(shape: tuple[int, ...], classes: int, seed: int, attempt: int) -> Arrays:
    """The images and labels of one training step."""
    images = random_images(shape, seed, attempt)["images"]
    labels = np.random.default_rng([seed, attempt]).integers(0, classes, (1, shape[0]))
    return {"images": images[None], "targets": labels}


def small_signals(shape: tuple[int, ...], weights: Arrays, spec: Spec, seed: int, attempt: int) -> Arrays:
    """Images of size SMALL, and weights/NAME of each of the weights that must change for signals to stay that small."""
    inputs = {"images": np.float32(SMALL) * random_images(shape, seed, attempt)["images"]}
    for name, array in weights.items():
        weight = spec.weights[name]
        is_vector = weight.kind == "other" and len(weight.shape) != 2  # of a user's own normalisation, or an embedding
        factor = SMALL if is_vector else SMALL_KINDS.get(weight.kind, 1.0)
        if factor != 1:
            inputs[f"weights/{name}"] = np.float32(factor) * array
    return inputs
