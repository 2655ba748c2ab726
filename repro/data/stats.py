"""Mean and standard deviation of the pixels of a data set, for `mean` and `std` of a recipe."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from repro.data.image_check import Progress, each
from repro.data.subset import Subset
from repro.data.transform import Transform


def statistics(
    part: Subset, image_size: int | None = None, progress: Progress | None = None
) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of red, green and blue over all pixels of all images, of values in 0..1.

    image_size: images are squashed to this side first, so that each counts as much; None: as they are, where larger
    ones count more. Exact but for the last rounding, since whole numbers are counted.
    Raises ReproError for an image that cannot be decoded.
    """
    transform = None if image_size is None else Transform(image_size=image_size)

    def histogram(part: Subset, index: int) -> list[int]:
        image = part.image(index)
        return (Image.fromarray(transform.pixels(image)) if transform else image).histogram()

    counts = np.zeros(3 * 256, np.int64)
    for found in each([part], histogram, progress):
        counts += found
    mean, std = [], []
    for channel in counts.reshape(3, 256).tolist():
        pixels = sum(channel)
        total = sum(value * count for value, count in enumerate(channel))
        squares = sum(value * value * count for value, count in enumerate(channel))
        mean.append(total / pixels / 255)
        std.append(math.sqrt(pixels * squares - total * total) / pixels / 255)
    return mean, std
