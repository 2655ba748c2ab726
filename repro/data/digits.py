"""1,797 handwritten digits of 8x8 pixels, which scikit-learn carries: a data set that needs no download.

E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI 1998 (its test set).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from repro.data.part import Part


@dataclass(frozen=True, eq=False)
class _Digits:
    pixels: np.ndarray  # uint8 (1797, 8, 8)

    def __call__(self, name: str) -> Image.Image:
        return Image.fromarray(self.pixels[int(name)]).convert("RGB")


def digits() -> tuple[tuple[str, ...], Part]:
    """The classes "0" to "9" and all images, named "0000" to "1796" in scikit-learn's order."""
    from sklearn.datasets import load_digits  # takes a second, and only this data set needs it

    images, labels = load_digits().images, load_digits().target
    pixels = np.rint(images * (255 / 16)).astype(np.uint8)  # grey levels are 0 to 16
    names = tuple(f"{index:04d}" for index in range(len(pixels)))
    return tuple("0123456789"), Part(names, labels.astype(np.int64), _Digits(pixels))
