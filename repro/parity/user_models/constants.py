"""Constants of a framework, in which no user model can be otherwise.

Paddle averages the biased variances of batches, and other frameworks the unbiased ones. It keeps 1 / 6, the slope of
hard sigmoid, in float32, which differs only in float64; and it adds up the gradient of a convolution's bias one element
after another in float32, which differs only in float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from repro.arrays import Arrays
from repro.errors import counted
from repro.interface.module_settings import RUNNING_VARIANCE
from repro.parity.comparison import AGREEMENT, ArrayComparison, most_critical

if TYPE_CHECKING:
    from repro.parity.record import Record
    from repro.parity.user_models.models import UserModels

# Largest error in float32, in units of the tolerance, that counts as another order of sums where float64 agrees
SUMS_FACTOR = 8.0


def settle_precisions(
    exact: Arrays, float32: Sequence[ArrayComparison], float64: Sequence[ArrayComparison], constant_share: float
) -> list[ArrayComparison]:
    """A comparison of each array from those in both precisions, a "constant" where only one of them is off by little.

    An error of method is equal in both precisions. One that is small in float32, and not there in float64, is another
    order of sums. One within the tolerance of float32 that float64 shows is another constant if it is no more than
    `constant_share` of the largest element of the first array where it shows; later arrays follow from that one.
    """
    settled, constant_seen = [], False
    for array, single, double in zip(exact.values(), float32, float64, strict=True):
        comparison = most_critical([single, double])
        if single.verdict in AGREEMENT and double.verdict == "diverges" and double.max_error is not None:
            limit = single.tolerance if constant_seen else constant_share * float(np.abs(array).max(initial=0.0))
            if double.max_error <= limit:
                constant_seen = True
                reason = f"{double.reason}; the models agree in float32, so it is another constant"
                comparison = replace(double, verdict="constant", reason=reason, exceeding=None)
        elif single.verdict == "diverges" and double.verdict in AGREEMENT and single.error_ratio <= SUMS_FACTOR:
            reason = f"{single.reason}; the models agree in float64, so it is another order of sums"
            comparison = replace(single, verdict="constant", reason=reason, exceeding=None)
        settled.append(comparison)
    return settled


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


def describe_constants(models: UserModels, records: Sequence[Record] = ()) -> Iterator[str]:
    """Yield a note for each record that agrees up to a constant, and for models that average biased variances."""
    for record in records:
        if record.verdict == "constant":
            yield f"note: {record.sentence}; with --strict, it diverges"
    counts = {backend: len(_biased_layers(models, backend)) for backend in models.workers}
    if not all(counts.values()) and (not records or any(record.rung == 2 for record in records)):
        for backend, count in counts.items():
            if count:
                yield (
                    f"note: {backend} averages the biased variance of batches in "
                    f"{counted(count, 'normalisation')}, as its "
                    "framework does; the running variances are compared as if it averaged the unbiased one, and with "
                    "--strict they diverge"
                )


def _biased_layers(models: UserModels, backend: str) -> dict[str, float]:
    """Shared name -> momentum of each normalisation of a model that averages biased variances."""
    layers = {}
    for name, own_name in models.names[backend].items():
        module = models.modules[backend].get(own_name)
        if module and module.settings.get(RUNNING_VARIANCE) == "biased":
            layers[name] = float(module.settings["momentum"] or 0)
    return layers
