"""Constants of a framework, in which no user model can be otherwise: Paddle's running variance.

Paddle averages the biased variances of batches, and other frameworks the unbiased ones.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from repro.arrays import Arrays
from repro.interface.module_settings import RUNNING_VARIANCE
from repro.parity.user_models import UserModels


def with_unbiased_variances(results: Arrays, backend: str, models: UserModels, weights: Arrays) -> Arrays:
    """The results of a forward pass in training mode with each running variance as the unbiased variance gives it.

    weights: before the pass. A layer that runs more than once, or on one value per channel, keeps its result.
    """
    corrected = dict(results)
    for layer, momentum in _biased_layers(models, backend).items():
        name = f"{layer}.running_var"
        if not {layer, name} <= results.keys() or f"{layer} (2)" in results:
            continue
        count = results[layer].size // results[name].size  # values of each channel
        if count > 1:
            kept = (1 - momentum) * weights[name].astype(np.float64)
            variance = kept + (results[name] - kept) * count / (count - 1)
            corrected[name] = variance.astype(results[name].dtype)
    return corrected


def describe_constants(models: UserModels) -> Iterator[str]:
    """Yield a note for each model that has such layers where another model has none."""
    counts = {backend: len(_biased_layers(models, backend)) for backend in models.workers}
    if not all(counts.values()):
        for backend, count in counts.items():
            if count:
                yield (
                    f"note: {backend} averages the biased variance of batches in {count} normalisations. That is the "
                    "framework's own and is compared as if it were unbiased; --strict lets it diverge"
                )


def _biased_layers(models: UserModels, backend: str) -> dict[str, float]:
    """Shared name -> momentum of each normalisation of a model that averages biased variances."""
    layers = {}
    for name, own_name in models.names[backend].items():
        module = models.modules[backend].get(own_name)
        if module and module.settings.get(RUNNING_VARIANCE) == "biased":
            layers[name] = float(module.settings["momentum"] or 0)
    return layers
