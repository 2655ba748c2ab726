"""The verdict cannot be fooled."""

from __future__ import annotations

import numpy as np
import pytest

from repro.parity.comparison import Comparison, compare, overall


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def verdict(actual: np.ndarray, reference: np.ndarray, tolerance: float = 1e-5) -> Comparison:
    return compare("here", actual, reference, tolerance=tolerance)


def test_equal_and_rounding() -> None:
    x = draw(4, 5)
    assert verdict(x, x.copy()).verdict == "equal"
    near = verdict(x + np.float32(3e-6), x)
    assert near.verdict == "rounding"
    assert near.max_error == pytest.approx(3e-6, rel=0.1)
    assert near.ratio == pytest.approx(0.3, rel=0.1)
    assert verdict(x + np.float32(3e-5), x).verdict == "diverges"


def test_equal_is_to_the_bit() -> None:
    x = draw(4)
    assert verdict(x.astype(np.float64).astype(np.float32), x.astype(np.float64)).verdict == "equal"
    assert verdict(np.nextafter(x, np.float32(9)), x).verdict == "rounding"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite(bad: float) -> None:
    x = draw(3, 4)
    broken = x.copy()
    broken[1, 2] = bad
    for actual, reference in ((broken, x), (x, broken), (broken, broken)):
        found = verdict(actual, reference, tolerance=np.inf)
        assert found.verdict == "diverges"
        assert "[1, 2]" in found.reason
        assert found.max_error is None


def test_one_wrong_element_in_ten_million() -> None:
    x = draw(10_000_000)
    wrong = x.copy()
    wrong[7_654_321] += 1e-3
    found = verdict(wrong, x)
    assert found.verdict == "diverges"
    assert "[7654321]" in found.reason
    assert "1 of 10000000 elements" in found.reason


@pytest.mark.parametrize("shape", [(1, 5), (5,), (4, 1), (1, 4, 5), (20,), ()])
def test_broadcastable_shape(shape: tuple[int, ...]) -> None:
    ones = np.ones((4, 5), np.float32)
    found = verdict(np.ones(shape, np.float32), ones)
    assert (found.verdict, found.max_error) == ("diverges", None)
    assert "shape" in found.reason


def test_permuted_channels() -> None:
    x = draw(2, 8, 3, 3)
    assert verdict(x[:, np.random.default_rng(1).permutation(8)], x).verdict == "diverges"


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32])
def test_dtype(dtype: type) -> None:
    found = verdict(np.ones(3, dtype), np.ones(3, np.float32))
    assert found.verdict == "diverges"
    assert "instead of float32" in found.reason


def test_errors_do_not_cancel() -> None:
    """A mean would not see it."""
    x = np.zeros(1000, np.float32)
    assert verdict(np.where(np.arange(1000) % 2, 1e-3, -1e-3).astype(np.float32), x).verdict == "diverges"


def test_empty_arrays_are_equal_only_in_shape() -> None:
    assert verdict(np.ones((0, 3), np.float32), np.ones((0, 3), np.float32)).verdict == "equal"
    assert verdict(np.ones((0, 3), np.float32), np.ones((0, 4), np.float32)).verdict == "diverges"


def test_overall_names_the_first_divergence_not_the_largest() -> None:
    small = Comparison("diverges", "stem", 1e-3, 1e-5, "")
    large = Comparison("diverges", "logits", 1e9, 1e-5, "")
    fine = Comparison("rounding", "input", 1e-6, 1e-5, "")
    same = Comparison("equal", "other", 0.0, 1e-5, "")
    assert overall([fine, small, large]) is small
    assert overall([same, fine]) is fine
    assert overall([same, same]).verdict == "equal"
