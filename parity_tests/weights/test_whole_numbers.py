"""repro.weights.whole_numbers: inputs and weights on which every sum is exact."""

from __future__ import annotations

import numpy as np
import pytest

from repro.errors import ReproError
from repro.specs import CATALOGUE, find_spec
from repro.weights.whole_numbers import (
    LARGEST_INPUT,
    UNIT,
    exact_variances,
    magnitudes,
    whole_inputs,
    whole_weights,
)

SMALL = "mobilenet_v2_x0_35"
SHAPE = (2, 16, 32, 32)


def test_inputs_are_multiples_of_nine_eighths_that_depend_on_name_shape_and_seed() -> None:
    inputs = whole_inputs("stem", SHAPE, 0)
    assert (inputs.dtype, inputs.shape) == (np.float32, SHAPE)
    units = inputs / np.float32(UNIT)
    assert np.array_equal(units, np.rint(units))
    assert np.abs(units).max() == LARGEST_INPUT
    assert {-2, -1, 0, 1, 2} <= set(np.unique(units))
    assert np.array_equal(inputs, whole_inputs("stem", SHAPE, 0))
    for other in (whole_inputs("stem2", SHAPE, 0), whole_inputs("stem", SHAPE, 1)):
        assert (other != inputs).mean() > 0.9
    large = whole_inputs("stem", (2, 64, 64, 64), 0)  # more than the pool has
    assert len(np.unique(large[0].reshape(64, -1), axis=0)) == 64


@pytest.mark.parametrize("bits", [10, 7])
def test_inputs_do_not_fit_into_shorter_formats(bits: int) -> None:
    """TF32 and float16 keep 10 bits of the mantissa, and bfloat16 7."""
    inputs = whole_inputs("stem", SHAPE, 0)
    mask = np.int32(-1 << (23 - bits))
    assert ((inputs.view(np.int32) & mask).view(np.float32) != inputs).mean() > 0.05


@pytest.mark.parametrize("fan_in", [1, 9, 25, 49, 64, 576, 4608, 25088])
def test_sums_of_products_stay_below_two_to_the_24(fan_in: int) -> None:
    weights = exact_weights(fan_in, 64)
    inputs = whole_inputs("x", (fan_in, 2000), 0).astype(np.float64) * 8
    assert np.array_equal(weights, np.rint(weights))
    largest = (np.abs(weights) @ np.abs(inputs)).max()
    assert largest < 2**24
    if fan_in >= 64:  # they are not much smaller either: Winograd's intermediate sums do not fit
        assert largest > 2**22
        assert (weights[1::2] @ inputs).mean() > 2**21


def exact_weights(fan_in: int, rows: int) -> np.ndarray:
    """The kernel of a linear layer."""
    from repro.weights.whole_numbers import _whole_kernel

    return _whole_kernel(np.random.default_rng(0), (rows, fan_in)).astype(np.float64)


def test_variances_give_powers_of_four_in_both_precisions() -> None:
    for eps in {find_spec(name).norm_eps for name in CATALOGUE} | {1e-12, 2e-5, 0.01, 0.5}:
        variances = exact_variances(eps)
        assert variances.dtype == np.float64
        assert set(variances + eps) <= {0.25, 1.0, 4.0}
        assert set(variances.astype(np.float32) + np.float32(eps)) <= {0.25, 1.0, 4.0}
    with pytest.raises(ReproError, match="no variance and the epsilon 1e\\+30 add up to a power of four"):
        exact_variances(1e30)


def test_weights_are_whole_numbers_and_eighths_of_every_kind() -> None:
    spec = find_spec("rdnet_tiny")
    weights = whole_weights(spec, 0)
    assert {name: array.shape for name, array in weights.items()} == {n: w.shape for n, w in spec.weights.items()}
    for name, array in weights.items():
        factor = 1 if spec.weights[name].kind in ("conv", "linear", "norm_scale", "layer_scale") else 8
        assert np.array_equal(array * factor, np.rint(array * factor)), name
        assert array.std() > 0
    spec = find_spec(SMALL)
    weights = whole_weights(spec, 0)
    sums = magnitudes(weights, spec)
    assert all((array <= 0).all() for name, array in sums.items() if name.endswith("running_mean"))
    assert all((array >= 0).all() for name, array in sums.items() if not name.endswith("running_mean"))
    assert any((weights[name] != whole_weights(spec, 1)[name]).any() for name in weights)


X = np.unique(whole_inputs("x", (65_521,), 0))  # every input that there is
SIXTH, NINTH = np.float32(1 / 6), np.float32(1 / 9)
RELU6 = np.clip(X + np.float32(3), 0, 6)


@pytest.mark.parametrize(
    "formula", [RELU6 * SIXTH, np.clip(X / 6 + np.float32(0.5), 0, 1), np.clip(X * SIXTH + np.float32(0.5), 0, 1)]
)
def test_every_formula_of_the_hard_sigmoid_is_exact(formula: np.ndarray) -> None:
    exact = np.clip(X.astype(np.float64) + 3, 0, 6) / 6
    assert np.array_equal(formula.astype(np.float64), exact)


@pytest.mark.parametrize(
    "formula", [X * RELU6 / 6, X * RELU6 * SIXTH, X * (RELU6 * SIXTH), X / 6 * RELU6, X * SIXTH * RELU6]
)
def test_every_formula_of_the_hard_swish_is_exact(formula: np.ndarray) -> None:
    x = X.astype(np.float64)
    assert np.array_equal(formula.astype(np.float64), x * np.clip(x + 3, 0, 6) / 6)


def test_a_window_of_nine_is_exact_by_division_and_by_multiplication() -> None:
    sums = np.arange(-9 * LARGEST_INPUT, 9 * LARGEST_INPUT + 1, dtype=np.float32) * np.float32(UNIT)
    for mean in (sums / 9, sums * NINTH):
        assert np.array_equal(mean.astype(np.float64), sums.astype(np.float64) / 9)
