"""The loss scale of float16, which adapts to the gradients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from repro.arrays import Arrays
from repro.errors import ReproError

INTERVAL = 2000  # good steps after which the scale doubles
LARGEST = 2.0**127  # in float32


@dataclass
class LossScale:
    """The factor of the loss before backpropagation in float16, in which small gradients would underflow.

    It follows the rule of torch.amp.GradScaler: it halves when a gradient is not finite, and doubles after INTERVAL
    consecutive good steps. It stays a power of two, so that scaling changes no digit.
    """

    scale: float = 65536.0
    good_steps: int = 0  # since the scale changed

    def update(self, *, is_finite: bool) -> bool:
        """Adapt the scale after the gradients of a step, and return whether the weights are to be updated by them.

        is_finite: whether all gradients of all ranks are finite. Raises ReproError if they are not at a scale of 1.
        """
        if is_finite:
            self.good_steps += 1
            if self.good_steps >= INTERVAL:
                self.scale, self.good_steps = min(2 * self.scale, LARGEST), 0
        elif self.scale > 1:
            self.scale, self.good_steps = self.scale / 2, 0
        else:
            raise ReproError(
                "the gradients overflow float16 even with a loss scale of 1; start again with a smaller --lr or with "
                "--precision float32"
            )
        return is_finite

    def state(self) -> Arrays:
        """Return the arrays "loss_scale" (float32, no axes) and "good_steps" (int64, no axes)."""
        return {"loss_scale": np.array(self.scale, np.float32), "good_steps": np.array(self.good_steps, np.int64)}

    def load_state(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Continue from the arrays of state(); others are ignored."""
        self.scale, self.good_steps = float(arrays["loss_scale"]), int(arrays["good_steps"])
