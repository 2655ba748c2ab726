"""The rounding of scaled channels in the code of MobileNet and EfficientNet."""

from __future__ import annotations


def round8(channels: float, keep: float = 0.9) -> int:
    """Return the nearest multiple of 8, or the next larger one where it is less than `keep` times the channels."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < keep * channels else rounded
