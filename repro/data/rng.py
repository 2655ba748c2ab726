"""Random generators by key."""

from __future__ import annotations

import numpy as np

from repro.errors import ReproError


def random_stream(seed: int, *key: int) -> np.random.Generator:
    """Return the random generator of a key.

    The key is () for the split, (epoch,) for the order of images, (epoch, index) for a sample, and (epoch, step, 0) for
    the mixing of a batch.

    Keys go through SeedSequence's spawn_key, because default_rng([seed, 1]) and default_rng([seed, 1, 0]) are equal.
    Raises ReproError for a seed or key below 0.
    """
    if min(seed, *key, 0) < 0:
        raise ReproError(f"seed and epoch must be at least 0, not {(seed, *key)}")
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
