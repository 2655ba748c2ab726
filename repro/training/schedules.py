"""Learning rates as functions of the step."""

from __future__ import annotations

import math

SCHEDULES = ("cosine", "cosine-epoch", "constant")


def learning_rate(schedule: str, base: float, step: int, steps: int, epochs: int) -> float:
    """The rate of `step`, counted from 0 over the whole run of `epochs` epochs with `steps` steps each.

    "cosine" (Loshchilov and Hutter, arXiv:1608.03983, without restarts) falls from `base` with every step and would
    reach 0 one step after the last; "cosine-epoch" does so with every epoch; "constant" stays at `base`.
    """
    if schedule == "constant":
        return base
    done = step // steps / epochs if schedule == "cosine-epoch" else step / (steps * epochs)
    return base * (1 + math.cos(math.pi * done)) / 2
