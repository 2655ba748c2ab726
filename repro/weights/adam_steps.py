"""The optimizer's step count in a checkpoint, on which Adam's bias correction depends. The file is not trusted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from repro.weights import Log
from repro.weights.strict import is_float

MAX_STEPS = 2**31 - 1  # the limit of MindSpore's counter
BETAS = (0.9, 0.999)  # the default betas of Adam in all frameworks
SMALLEST_NORMAL = float(np.finfo(np.float32).tiny)  # smaller float32 numbers lose digits
MAX_POWERS = 100_000  # beta2 ** steps underflows before


def steps_in_file(counters: Sequence[np.ndarray], beta_powers: Sequence[Sequence[np.ndarray]], log: Log) -> int | None:
    """Return the step count, or None where the file does not give a valid one. `log` receives one line about it.

    counters: the file's step counters, one or one per parameter. beta_powers: Paddle's powers of beta1 and of beta2,
    which serve where there is no counter.
    """
    try:
        if not counters and not all(beta_powers):
            raise ValueError("the file has none")
        steps = steps_from_counters(counters) if counters else steps_from_beta_powers(*beta_powers)
    except ValueError as error:
        log(f"skipped the optimizer's step count: {error}")
        return None
    log(f"read the optimizer's step count: {steps}" + ("" if counters else f" (from the powers of the betas {BETAS})"))
    return steps


def steps_from_counters(counters: Sequence[np.ndarray]) -> int:
    """Return the step count that all counters agree on.

    Raises ValueError where they differ or do not hold a whole number from 0 to MAX_STEPS.
    """
    steps = _common_value(counters)
    if not 0 <= steps <= MAX_STEPS or steps != int(steps):
        raise ValueError(f"{steps:g} is not a whole number from 0 to {MAX_STEPS}")
    return int(steps)


def steps_from_beta_powers(beta1_powers: Sequence[np.ndarray], beta2_powers: Sequence[np.ndarray]) -> int:
    """Return the step count that Paddle's powers of the betas imply: each is beta ** (steps + 1), one per parameter.

    Paddle does not save the betas. They are assumed to be BETAS, and only if both powers are bit-identical to repeated
    float32 multiplication: a logarithm would be off by one step after 50,000 steps.
    Raises ValueError for powers of other betas, and for more than about 87,000 steps, where float32 underflows.
    """
    values = [_common_value(powers) for powers in (beta1_powers, beta2_powers)]
    beta1_table, beta2_table = (
        np.multiply.accumulate(np.full(MAX_POWERS, beta, np.float32)).astype(np.float64) for beta in BETAS
    )
    (candidates,) = np.nonzero((beta2_table == values[1]) & (beta2_table >= SMALLEST_NORMAL))
    if len(candidates) != 1 or max(beta1_table[candidates[0]], SMALLEST_NORMAL) != max(values[0], SMALLEST_NORMAL):
        raise ValueError(
            f"it cannot be derived from the powers {values[0]:g} and {values[1]:g}: this needs the betas "
            f"{BETAS[0]} and {BETAS[1]} and at most {np.sum(beta2_table >= SMALLEST_NORMAL) - 1:,} steps"
        )
    return int(candidates[0])


def _common_value(arrays: Sequence[np.ndarray]) -> float:
    """Return the number that every array of one element holds. Raises ValueError where they differ."""
    if any(array.size != 1 or not (is_float(array) or np.issubdtype(array.dtype, np.integer)) for array in arrays):
        raise ValueError("it is not a number")
    values = sorted({float(array.reshape(-1)[0]) for array in arrays})
    if len(values) != 1:
        raise ValueError(f"it differs between parameters: {values[0]:g} and {values[-1]:g}")
    return values[0]
