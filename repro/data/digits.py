"""1,797 handwritten digits of 8x8 pixels, a data set that comes with scikit-learn.

E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI 1998 (its test set).
"""

from __future__ import annotations

import numpy as np

from repro.data.subset import ImageSource, numbered


def digits_source() -> ImageSource:
    """Return the classes "0" to "9" and all images, named "0000" to "1796" in scikit-learn's order."""
    from sklearn.datasets import load_digits  # takes a second

    images, labels = load_digits().images, load_digits().target
    pixels = np.rint(images * (255 / 16)).astype(np.uint8)  # grey levels are 0 to 16
    return ImageSource(tuple("0123456789"), (numbered(pixels, labels, 4),))
