"""Learning rates as functions of the step."""

from __future__ import annotations

import math

FALLING = ("cosine", "cosine-epoch", "linear")  # as far as `end`
SCHEDULES = (*FALLING, "step", "step-half", "exponential", "constant")


def learning_rate(
    schedule: str, base: float, step: int, steps: int, epochs: int, warmup: float = 0.0, end: float = 0.0
) -> float:
    """The rate of `step`, counted from 0 over the whole run of `epochs` epochs with `steps` steps each.

    In the first `warmup` epochs the rate rises with every step, in a straight line from 0, to `base`. Then "cosine"
    (Loshchilov and Hutter, arXiv:1608.03983, without restarts) falls from `base` with every step and would reach 0 one
    step after the last; "cosine-epoch" does so with every epoch; "linear" falls in a straight line; "step" falls to a
    tenth after each third; "step-half" at the half and at three quarters (He et al., arXiv:1512.03385, section 4.2);
    "exponential" to 0.97 every 2.4 epochs (Tan and Le, arXiv:2104.00298, section 5.1); "constant" stays at `base`.
    `end` is the part of `base` that takes the place of 0 in these three.
    """
    rising = round(warmup * steps)
    if step < rising:
        return base * (step + 1) / rising
    left = steps * epochs - rising
    if schedule == "constant":
        return base
    if schedule == "step":
        return base * 0.1 ** (3 * (step - rising) // left)
    if schedule == "step-half":
        return base * 0.1 ** ((step >= left / 2 + rising) + (step >= 3 * left / 4 + rising))
    if schedule == "exponential":
        return base * 0.97 ** int((step - rising) / steps / 2.4)
    if schedule == "cosine-epoch":
        step = max(step // steps * steps, rising)
    done = (step - rising) / left
    left_over = 1 - done if schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
    return base * (end + (1 - end) * left_over)
