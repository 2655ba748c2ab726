"""repro.data.digits: the file of scikit-learn, beside its own reader."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from repro.data.digits import digits_source


def test_digits_are_those_of_scikit_learn() -> None:
    expected = load_digits()
    (subset,) = digits_source().subsets
    assert subset.labels.dtype == np.int64
    np.testing.assert_array_equal(subset.labels, expected.target)
    for index, image in enumerate(expected.images):
        grey = np.rint(image * 255 / 16)
        np.testing.assert_array_equal(np.asarray(subset.image(index)), np.repeat(grey[..., None], 3, axis=2))
