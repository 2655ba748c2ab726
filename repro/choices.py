"""The choices and ranges of values that recipes, image preparation and trainers check alike.

Only the standard library is imported, so that `--help` is quick.
"""

from __future__ import annotations

from dataclasses import dataclass

from repro.errors import ReproError

FRAMEWORKS = ("torch", "paddle", "mindspore")
"""The frameworks of the backends in this repository."""
OPTIMIZERS = ("sgd", "adam", "adamw", "rmsprop", "rmsprop_tf")
PRECISIONS = ("float32", "bfloat16", "float16")
DEVICES = ("cpu", "gpu")
RESIZES = ("squash", "crop")
INTERPOLATIONS = ("bilinear", "bicubic")
DECODINGS = ("exact", "fast")
"""The ways in which JPEG files are decoded: in full, or in the smallest size that suffices."""
CHECKS = ("start", "first-epoch")
"""The times at which images are checked."""
BALANCES = ("sampling", "loss")
"""The ways in which all classes count the same in training."""
MIX_MODES = ("batch", "pair", "elem")
CHANNELS = (3, 1)
"""Numbers of channels of an image: RGB or grey."""
EVERY_FIFTH = "every-fifth"
"""The split that validates with images 0, 5, 10 ... of each class."""


@dataclass(frozen=True)
class Range:
    """An interval of numbers. It includes its ends unless `above` or `below` is set. NaN is in no range."""

    low: float
    high: float
    above: bool = False  # exclude the lower end
    below: bool = False  # exclude the upper end
    integer: bool = False

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int if self.integer else (int, float)):
            return False
        excluded = (self.above and value == self.low) or (self.below and value == self.high)
        return self.low <= value <= self.high and not excluded

    def __str__(self) -> str:
        return f"{'a whole number' if self.integer else 'a number'} {self.ends}"

    @property
    def ends(self) -> str:
        """The ends in words, such as "from 0 to 1" or "above 0 and below 1"."""
        low, high = (str(int(end)) if end == int(end) else f"{end:g}" for end in (self.low, self.high))
        if not self.above and not self.below:
            return f"from {low} to {high}"
        return f"{'above' if self.above else 'from'} {low} and {'below' if self.below else 'up to'} {high}"


FRACTION = Range(0, 1)
POSITIVE_FRACTION = Range(0, 1, above=True)
DECAY = Range(0, 0.999999)
SPLIT_FRACTION = Range(0, 1, above=True, below=True)

RANGES = {
    "image_size": Range(1, 4096, integer=True),  # networks check a minimum of their own
    "mean": FRACTION,
    "std": POSITIVE_FRACTION,
    "crop_fraction": Range(0.1, 1),
    "pad": Range(0, 64, integer=True),
    "rotation": Range(0, 180),
    "flip": FRACTION,
    "rand_augment": Range(0, 10, integer=True),
    "jitter": FRACTION,
    "magnitude": Range(0, 10),
    "cutout": FRACTION,
    "mixup": Range(0, 1000),
    "cutmix": Range(0, 1000),
    "mix_probability": FRACTION,
    "mix_switch": FRACTION,
    "momentum": Range(0, 0.9999),
    "betas": DECAY,
    "alpha": Range(0, 0.9999),
    "eps": POSITIVE_FRACTION,  # with 0, a weight without a gradient would become 0 / 0
    "weight_decay": FRACTION,
    "clip_norm": Range(0, 1e6, above=True),
    "label_smoothing": Range(0, 0.99),
    "ema_decay": DECAY,
    "accumulate": Range(1, 4096, integer=True),
    "deterministic_shards": Range(1, 4096, integer=True),
}
"""The range of each value that more than one room checks, under its key in a recipe."""


def check_range(name: str, value: object, interval: Range | None = None) -> None:
    """Raise ReproError unless the value is in the interval (default: the one of `name` in RANGES)."""
    interval = interval or RANGES[name]
    if value not in interval:
        raise ReproError(f"{name} must be {interval}, not {value!r}")
