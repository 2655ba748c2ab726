"""1,797 handwritten digits of 8x8 pixels, a data set that comes with scikit-learn.

E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI 1998 (its test set).
"""

from __future__ import annotations

from importlib.metadata import distribution

import numpy as np

from repro.data.subset import ImageSource, numbered

FILE = "sklearn/datasets/data/digits.csv.gz"  # 64 grey levels from 0 to 16 and the label of each image


def digits_source() -> ImageSource:
    """Return the classes "0" to "9" and all images, named "0000" to "1796" in scikit-learn's order."""
    path = str(distribution("scikit-learn").locate_file(FILE))  # load_digits() imports SciPy first, for a second
    table = np.loadtxt(path, np.uint8, delimiter=",")
    pixels = np.rint(table[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    return ImageSource(tuple("0123456789"), (numbered(pixels, table[:, -1].astype(np.int64), 4),))
