"""How MobileNet's and EfficientNet's code rounds scaled numbers of channels."""

from __future__ import annotations


def round8(channels: float, keep: float = 0.9) -> int:
    """The nearest multiple of 8, or the next one where rounding down would leave less than the share `keep`."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < keep * channels else rounded
