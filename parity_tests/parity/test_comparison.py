"""repro.parity.comparison: every way in which arrays can differ is noticed."""

from __future__ import annotations

import numpy as np
import pytest

from repro.parity.comparison import ArrayComparison, compare_arrays, most_critical


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def compare(actual: np.ndarray, reference: np.ndarray, tolerance: float = 1e-5) -> ArrayComparison:
    return compare_arrays("here", actual, reference, tolerance=tolerance)


def test_equal_rounding_and_divergence() -> None:
    x = draw(4, 5)
    assert compare(x, x.copy()).verdict == "equal"
    rounding = compare(x + np.float32(3e-6), x)
    assert rounding.verdict == "rounding"
    assert rounding.max_error == pytest.approx(3e-6, rel=0.1)
    assert rounding.error_ratio == pytest.approx(0.3, rel=0.1)
    assert compare(x + np.float32(3e-5), x).verdict == "diverges"


def test_equal_means_bit_identical() -> None:
    x = draw(4)
    assert compare(x.astype(np.float64).astype(np.float32), x.astype(np.float64)).verdict == "equal"
    assert compare(np.nextafter(x, np.float32(9)), x).verdict == "rounding"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_always_diverge(value: float) -> None:
    x = draw(3, 4)
    broken = x.copy()
    broken[1, 2] = value
    for actual, reference in ((broken, x), (x, broken), (broken, broken)):
        comparison = compare(actual, reference, tolerance=np.inf)
        assert comparison.verdict == "diverges"
        assert comparison.reason.endswith(f"{value} at [1, 2]; 1 of 12 elements are not finite")
        assert comparison.max_error is None


def test_one_wrong_element_in_ten_million() -> None:
    x = draw(10_000_000)
    wrong = x.copy()
    wrong[7_654_321] += 1e-3
    comparison = compare(wrong, x)
    assert comparison.verdict == "diverges"
    assert "[7654321]" in comparison.reason
    assert "1 of 10000000 elements" in comparison.reason


@pytest.mark.parametrize("shape", [(1, 5), (5,), (4, 1), (1, 4, 5), (20,), ()])
def test_shapes_are_not_broadcast(shape: tuple[int, ...]) -> None:
    comparison = compare(np.ones(shape, np.float32), np.ones((4, 5), np.float32))
    assert (comparison.verdict, comparison.max_error) == ("diverges", None)
    assert "shape" in comparison.reason


def test_permuted_channels_diverge() -> None:
    x = draw(2, 8, 3, 3)
    assert compare(x[:, np.random.default_rng(1).permutation(8)], x).verdict == "diverges"


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32])
def test_other_dtypes_diverge(dtype: type) -> None:
    comparison = compare(np.ones(3, dtype), np.ones(3, np.float32))
    assert comparison.verdict == "diverges"
    assert "instead of float32" in comparison.reason


def test_errors_do_not_cancel() -> None:
    """A mean error would be 0 here."""
    x = np.zeros(1000, np.float32)
    assert compare(np.where(np.arange(1000) % 2, 1e-3, -1e-3).astype(np.float32), x).verdict == "diverges"


def test_empty_arrays_are_equal_if_their_shapes_are() -> None:
    assert compare(np.ones((0, 3), np.float32), np.ones((0, 3), np.float32)).verdict == "equal"
    assert compare(np.ones((0, 3), np.float32), np.ones((0, 4), np.float32)).verdict == "diverges"


def test_the_first_divergence_is_most_critical_and_not_the_largest() -> None:
    small = ArrayComparison("diverges", "stem", 1e-3, 1e-5, "")
    large = ArrayComparison("diverges", "logits", 1e9, 1e-5, "")
    rounding = ArrayComparison("rounding", "input", 1e-6, 1e-5, "")
    equal = ArrayComparison("equal", "other", 0.0, 1e-5, "")
    assert most_critical([rounding, small, large]) is small
    assert most_critical([equal, rounding]) is rounding
    assert most_critical([equal, equal]).verdict == "equal"


def test_errors_of_the_size_of_the_array_are_no_rounding_however_large_rounding_is() -> None:
    exact = np.random.default_rng(0).normal(0, 1, 1000)
    off = exact.astype(np.float32) + np.float32(0.3)
    comparison = compare_arrays("logits", off, exact, tolerance=5.0, ceiling=0.1)
    assert comparison.verdict == "unanswerable"
    assert "errors of 0.3 on values of 0.98 (RMS) may be rounding or not, since the tolerance is 5" in comparison.reason
    assert compare_arrays("logits", off, exact, tolerance=0.2, ceiling=0.1).verdict == "diverges"
    one = exact.astype(np.float32)
    one[7] += 1  # a single value on the other side of a kink
    assert compare_arrays("logits", one, exact, tolerance=5.0, ceiling=0.1).verdict == "rounding"


def test_what_cannot_be_answered_is_critical_where_it_comes_first() -> None:
    unanswerable = ArrayComparison("unanswerable", "stem", 1.0, 5.0, "")
    diverging = ArrayComparison("diverges", "logits", 1e9, 1e-5, "")
    assert most_critical([unanswerable, diverging]) is unanswerable
    assert most_critical([diverging, unanswerable]) is diverging
