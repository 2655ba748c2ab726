"""Mean and standard deviation of the pixels of a data set, for `mean` and `std` of a recipe."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from repro.data.image_check import ProgressCallback, map_images
from repro.data.subset import Subset
from repro.data.transform import Transform


def statistics(
    images: Subset, image_size: int | None = None, progress: ProgressCallback | None = None
) -> tuple[list[float], list[float]]:
    """Return the mean and the standard deviation of red, green and blue over all pixels, scaled to 0..1.

    image_size: squash images to this side first, so that all count the same; by default larger images count more.
    Both are exact except for the last rounding, because integers are counted.
    Raises ReproError for an image that cannot be decoded.
    """
    transform = None if image_size is None else Transform(image_size=image_size)

    def histogram(subset: Subset, index: int) -> list[int]:
        image = subset.image(index)
        return (Image.fromarray(transform.pixels(image)) if transform else image).histogram()

    counts = np.zeros(3 * 256, np.int64)
    for image_counts in map_images([(images, range(len(images)))], histogram, progress):
        counts += image_counts
    mean, std = [], []
    for channel in counts.reshape(3, 256).tolist():
        pixels = sum(channel)
        total = sum(value * count for value, count in enumerate(channel))
        squares = sum(value * value * count for value, count in enumerate(channel))
        mean.append(total / pixels / 255)
        std.append(math.sqrt(pixels * squares - total * total) / pixels / 255)
    return mean, std
