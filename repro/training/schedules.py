"""Learning-rate schedules as functions of the step."""

from __future__ import annotations

import math

SCHEDULES_WITH_END = ("cosine", "cosine-epoch", "linear")
"""The schedules whose final learning rate can be chosen."""
SCHEDULES = (*SCHEDULES_WITH_END, "step", "step-half", "exponential", "constant")


def learning_rate(
    schedule: str, base: float, step: int, steps: int, epochs: int, warmup: float = 0.0, end: float = 0.0
) -> float:
    """Return the learning rate of a step.

    During the warm-up the rate increases linearly with every step, from base / (steps of the warm-up) to `base`.
    Afterwards:

    cosine        decays from `base` with every step, and would reach 0 one step after the last (Loshchilov and Hutter,
                  arXiv:1608.03983, without restarts)
    cosine-epoch  the same, but changes only at the start of an epoch
    linear        decays linearly with every step, and would reach 0 one step after the last
    step          is divided by 10 after each third of the run
    step-half     is divided by 10 after a half and after three quarters (He et al., arXiv:1512.03385, section 4.2)
    exponential   is multiplied by 0.97 every 2.4 epochs (Tan and Le, arXiv:2104.00298, section 5.1)
    constant      stays at `base`

    Args:
        schedule: One of SCHEDULES.
        base: The learning rate after the warm-up.
        step: The step, counted from 0 over the whole run.
        steps: Steps per epoch.
        epochs: Epochs of the run.
        warmup: Epochs of warm-up.
        end: The value that SCHEDULES_WITH_END reach instead of 0, as a fraction of `base`.
    """
    warmup_steps = round(warmup * steps)
    if step < warmup_steps:
        return base * (step + 1) / warmup_steps
    decay_steps = steps * epochs - warmup_steps
    if schedule == "constant":
        return base
    if schedule == "step":
        return base * 0.1 ** (3 * (step - warmup_steps) // decay_steps)
    if schedule == "step-half":
        middle, three_quarters = (fraction * decay_steps + warmup_steps for fraction in (1 / 2, 3 / 4))
        return base * 0.1 ** ((step >= middle) + (step >= three_quarters))
    if schedule == "exponential":
        return base * 0.97 ** int((step - warmup_steps) / steps / 2.4)
    if schedule == "cosine-epoch":
        step = max(step // steps * steps, warmup_steps)
    progress = (step - warmup_steps) / decay_steps
    remaining = 1 - progress if schedule == "linear" else (1 + math.cos(math.pi * progress)) / 2
    return base * (end + (1 - end) * remaining)
