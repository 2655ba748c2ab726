"""How many steps an optimizer has made, which Adam's next one depends on. What a file says of it is not trusted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from repro.weights.strict import is_float

MAX_STEPS = 2**31 - 1  # what MindSpore's own counter holds
BETAS = (0.9, 0.999)  # the defaults of all frameworks
TINY = float(np.finfo(np.float32).tiny)  # below it float32 loses digits, or everything


def steps_in_file(
    counts: Sequence[np.ndarray], powers: Sequence[Sequence[np.ndarray]], log: Callable[[str], object]
) -> int | None:
    """The number of steps by a file's counters or else by Paddle's powers of both betas. `log` is told which, or why
    there is none."""
    try:
        if not counts and not all(powers):
            raise ValueError("the file does not say")
        steps = steps_from_counters(counts) if counts else steps_from_beta_powers(*powers)
    except ValueError as error:
        log(f"left out how many steps the optimizer made: {error}")
        return None
    log(f"took its {steps} steps" + ("" if counts else f", worked out from the powers of the betas {BETAS}"))
    return steps


def steps_from_counters(counts: Sequence[np.ndarray]) -> int:
    """What a counter says, or one counter for each parameter. Raises ValueError where they say no one number."""
    steps = _one(counts)
    if not 0 <= steps <= MAX_STEPS or steps != int(steps):
        raise ValueError(f"it is {steps:g}, no whole number from 0 to {MAX_STEPS}")
    return int(steps)


def steps_from_beta_powers(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> int:
    """From Paddle's powers of both betas, one of each for each parameter: beta ** (steps + 1).

    Paddle does not keep the betas themselves. These are taken for BETAS, and only where either power is, to the bit,
    what as many multiplications in float32 make of it: a logarithm would be a step amiss after 50,000.
    Raises ValueError for others, and above the 87,000 steps or so that float32 bears.
    """
    powers = [_one(values) for values in (first, second)]
    made = [np.multiply.accumulate(np.full(100_000, beta, np.float32)).astype(np.float64) for beta in BETAS]
    (found,) = np.nonzero((made[1] == powers[1]) & (made[1] >= TINY))
    if len(found) != 1 or max(made[0][found[0]], TINY) != max(powers[0], TINY):
        raise ValueError(
            f"the powers of beta are {powers[0]:g} and {powers[1]:g}, which tell it for the betas "
            f"{BETAS[0]} and {BETAS[1]} alone, and up to {np.sum(made[1] >= TINY) - 1:,} steps"
        )
    return int(found[0])


def _one(arrays: Sequence[np.ndarray]) -> float:
    """The one number that all arrays hold."""
    if any(array.size != 1 or not (is_float(array) or np.issubdtype(array.dtype, np.integer)) for array in arrays):
        raise ValueError("it is no number")
    found = sorted({float(array.reshape(-1)[0]) for array in arrays})
    if len(found) != 1:
        raise ValueError(f"it differs among parameters: {found[0]:g} and {found[-1]:g}")
    return found[0]
