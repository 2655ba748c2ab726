"""repro.parity.operators.definition: the right results of an operator, in NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from repro.arrays import Arrays
from repro.parity.operators.definition import define
from repro.parity.operators.table import find_operator


def define_with(name: str, *assignments: str) -> Arrays:
    """The right results of an operator as PyTorch documents it."""
    operator = find_operator(name)
    chosen = operator.parse(list(assignments))
    return define(operator, operator.make_inputs(chosen), operator.documented("torch", chosen)).low


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("relu6 shape=1,1,4 x=-1,2,7,nan", [0, 2, 6, np.nan]),
        ("hardsigmoid shape=1,1,3 x=-3,0,1.5", [0, 0.5, 0.75]),
        ("leaky_relu shape=1,1,2 x=-2,2", [-0.02, 2]),
        ("var shape=1,1,3 x=1,2,6", [7]),
        ("max_pool2d kernel=2 shape=1,1,2,4 x=1,2,3,4", [2, 4]),
        ("avg_pool2d kernel=2 stride=2 padding=1 shape=1,1,2,2 x=4,8,12,16", [1, 2, 3, 4]),
        ("adaptive_avg_pool2d size=1,2 shape=1,1,1,3 x=1,2,6", [1.5, 4]),
        ("interpolate mode=bilinear size=1,4 shape=1,1,1,2 x=0,4", [0, 1, 3, 4]),
        ("interpolate mode=bilinear align_corners=true size=1,3 shape=1,1,1,2 x=0,4", [0, 2, 4]),
        ("pad mode=reflect padding=0,2 shape=1,1,1,3 x=1,2,3", [3, 2, 1, 2, 3, 2, 1]),
        ("pixel_shuffle factor=2 shape=1,4,1,1 x=1,2,3,4", [1, 2, 3, 4]),
        ("channel_shuffle groups=2 shape=1,4,1,1 x=1,2,3,4", [1, 3, 2, 4]),
        ("softmax shape=1,1,2 x=0,-inf", [1, 0]),
        ("round shape=1,1,3 x=0.5,1.5,2.5", [0, 2, 2]),
        ("cross_entropy shape=1,2 x=0,0", [np.log(2)]),
    ],
)
def test_definitions_worked_by_hand(case: str, expected: list[float]) -> None:
    y = define_with(*case.split())["y"]
    np.testing.assert_allclose(np.ravel(y), expected, rtol=1e-12)


def test_bicubic_interpolation_keeps_a_line_and_the_pixels() -> None:
    y = define_with("interpolate", "mode=bicubic", "align_corners=true", "size=1,7", "shape=1,1,1,7", "x=1,5,2,8,3,9,4")
    np.testing.assert_allclose(y["y"].ravel(), [1, 5, 2, 8, 3, 9, 4])


def test_a_gradient_at_a_kink_is_an_interval() -> None:
    operator = find_operator("relu6")
    chosen = operator.parse(["x=6,1", "shape=1,1,2"])
    right = define(operator, operator.make_inputs(chosen), operator.documented("torch", chosen))
    low, high = right.low["gradient of x"].ravel(), right.high["gradient of x"].ravel()
    np.testing.assert_allclose([low[0], high[0]], [0, 2.5], atol=1e-6)  # the upstream gradient is 1.5 + cos(0)
    assert low[1] == high[1] == pytest.approx(1.5 + np.cos(1))


def test_a_gradient_is_not_known_where_a_result_is_not_finite_or_a_step_is_too_large() -> None:
    assert np.isnan(define_with("relu6", "x=1,nan", "shape=1,1,2")["gradient of x"]).all()
    assert np.isnan(define_with("normalize", "x=0", "shape=1,2")["gradient of x"]).all()
