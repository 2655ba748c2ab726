"""Random streams by key."""

from __future__ import annotations

import numpy as np

from repro.errors import ReproError


def stream(seed: int, *key: int) -> np.random.Generator:
    """The stream of a key: () for the split, (epoch,) for the order, (epoch, index) for a sample, (epoch, step, 0) for
    the mixing of a batch.

    Keys go through SeedSequence's spawn_key, because default_rng([seed, 1]) and default_rng([seed, 1, 0]) are equal.
    Raises ReproError for a seed or key below 0.
    """
    if min(seed, *key, 0) < 0:
        raise ReproError(f"seed and epoch must be at least 0, not {(seed, *key)}")
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
