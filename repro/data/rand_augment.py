"""RandAugment: a few operations on each image, all with the same magnitude.

Cubuk et al., arXiv:1909.13719, section 3. Libraries draw from the generator of their framework; this module draws from
the generator of the sample, so that every backend sees the same image.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

STRONGEST = 10  # the paper's scale of magnitudes; torchvision's goes to 30 for the same strengths


class Operation(NamedTuple):
    """An operation apply(image, strength).

    The strength goes from `weakest` at magnitude 0 to `strongest` at 10. signed: it is negative half of the time.
    """

    apply: Callable[[Image.Image, float], Image.Image]
    weakest: float = 0
    strongest: float = 0
    signed: bool = False


def _affine(image: Image.Image, *matrix: float) -> Image.Image:
    """Return the image under an affine map, with the nearest pixels, and black outside.

    matrix: the map from a pixel's position in the new image to its position in the old one.
    """
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST)


# The 14 operations of the paper, in its order, with AutoAugment's ranges (arXiv:1805.09501, table 6) as torchvision has
# them; a translation is a fraction of the side.
OPERATIONS = {
    "identity": Operation(lambda image, _: image),
    "autocontrast": Operation(lambda image, _: ImageOps.autocontrast(image)),
    "equalize": Operation(lambda image, _: ImageOps.equalize(image)),
    "rotate": Operation(lambda image, degrees: image.rotate(degrees), 0, 30, signed=True),
    "solarize": Operation(lambda image, threshold: ImageOps.solarize(image, ceil(threshold)), 255, 0),
    "color": Operation(lambda image, more: ImageEnhance.Color(image).enhance(1 + more), 0, 0.9, signed=True),
    "posterize": Operation(lambda image, bits: ImageOps.posterize(image, round(bits)), 8, 4),
    "contrast": Operation(lambda image, more: ImageEnhance.Contrast(image).enhance(1 + more), 0, 0.9, signed=True),
    "brightness": Operation(lambda image, more: ImageEnhance.Brightness(image).enhance(1 + more), 0, 0.9, signed=True),
    "sharpness": Operation(lambda image, more: ImageEnhance.Sharpness(image).enhance(1 + more), 0, 0.9, signed=True),
    "shear_x": Operation(lambda image, shear: _affine(image, 1, shear, 0, 0, 1, 0), 0, 0.3, signed=True),
    "shear_y": Operation(lambda image, shear: _affine(image, 1, 0, 0, shear, 1, 0), 0, 0.3, signed=True),
    "translate_x": Operation(
        lambda image, fraction: _affine(image, 1, 0, -int(fraction * image.width), 0, 1, 0), 0, 150 / 331, signed=True
    ),
    "translate_y": Operation(
        lambda image, fraction: _affine(image, 1, 0, 0, 0, 1, -int(fraction * image.height)), 0, 150 / 331, signed=True
    ),
}


def rand_augment(image: Image.Image, count: int, magnitude: float, rng: np.random.Generator) -> Image.Image:
    """Return an RGB or grey image after `count` operations, drawn with replacement. magnitude: from 0 to 10."""
    operations = list(OPERATIONS.values())
    for _ in range(count):
        operation = operations[rng.integers(len(operations))]
        strength = operation.weakest + (operation.strongest - operation.weakest) * magnitude / STRONGEST
        if operation.signed and rng.integers(2):
            strength = -strength
        image = operation.apply(image, strength)
    return image
