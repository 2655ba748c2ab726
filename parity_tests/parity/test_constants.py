"""Constants of a framework, and kinks in repro.parity.judge: what only one precision, or only one input, shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from repro.parity.attempt import Computation
from repro.parity.comparison import ArrayComparison, Verdict, compare_arrays
from repro.parity.judge import judge
from repro.parity.user_models.constants import settle_precisions
from repro.specs import find_spec

EXACT = {"first": np.linspace(-2, 2, 50), "second": np.linspace(-1, 4, 50)}
SHARE = 5e-7
SPEC = find_spec("shufflenet_v1_g1_x0_25")
WORKERS: dict[str, Any] = {"torch": None, "paddle": None}


def settle(single: dict[str, float], double: dict[str, float]) -> list[Verdict]:
    """The verdicts for results with these relative errors, in float32 and float64."""

    def compare(errors: dict[str, float], tolerance: float, dtype: type) -> list[ArrayComparison]:
        return [
            compare_arrays(name, (array * (1 + errors.get(name, 0))).astype(dtype), array, tolerance=tolerance,
                           dtype=dtype)
            for name, array in EXACT.items()
        ]  # fmt: skip

    settled = settle_precisions(EXACT, compare(single, 1e-5, np.float32), compare(double, 1e-8, np.float64), SHARE)
    return [comparison.verdict for comparison in settled]


def test_a_constant_that_only_float64_shows() -> None:
    slope = {"first": 0.1666667 * 6 - 1}
    assert settle(slope, slope)[0] == "constant"
    assert settle({}, {"first": 2e-6})[0] == "diverges"  # not the last bit of a float32
    assert settle({"first": 1e-4}, {"first": 1e-4})[0] == "diverges"


def test_what_follows_from_a_constant_may_be_larger_and_hides_no_error() -> None:
    assert settle({}, {"first": 2e-7, "second": 2e-6}) == ["constant", "constant"]
    assert settle({}, {"second": 2e-6})[1] == "diverges"
    assert settle({"second": 1e-3}, {"first": 2e-7, "second": 1e-3}) == ["constant", "diverges"]


def test_another_order_of_sums_shows_only_in_float32() -> None:
    assert settle({"first": 1e-5}, {})[0] == "constant"
    assert settle({"first": 1e-4}, {})[0] == "diverges"  # too much for sums
    assert settle({"first": 1e-5}, {"first": 1e-5})[0] == "diverges"


def gradients(*errors: dict[int, float]) -> Computation:
    """A computation in which Paddle's float32 gradients have these errors, by element, on each attempt."""
    exact = np.linspace(1, 2, 400)

    def compute(workers: Any, inputs: Any, *, float64: bool, every_module: bool) -> dict[str, dict[str, np.ndarray]]:
        results = {}
        for backend in workers:
            array = exact.copy()
            if backend == "paddle":
                for index, error in errors[int(inputs["attempt"][0])].items():
                    array[index] += error
            results[backend] = {"gradient of x": array.astype(np.float64 if float64 else np.float32)}
        return {"torch": results["torch"]} if float64 and "torch" in results else {} if float64 else results

    return Computation(
        "", lambda attempt: {"images": np.ones(3, np.float32), "attempt": np.array([attempt])}, "images", compute,
        float64_factor=1.0, has_kinks=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("errors", "verdict"),
    [
        (({3: 1e-2}, {7: 1e-2}, {3: 1e-2, 9: 1e-2}), "rounding"),
        (({3: 1e-2}, {3: 1e-2}, {3: 1e-2}), "diverges"),
        (({3: 1e-2, 7: 1e-2}, {3: 1e-2}, {3: 1e-2, 9: 1e-2}), "diverges"),
        (({3: 1e-2}, {7: 1e-2}, dict.fromkeys(range(200), 1e-2)), "diverges"),
        (({3: 1e-2}, {3: 1e-2}, {}), "equal"),
    ],
)
def test_few_elements_that_change_with_the_inputs_are_kinks(errors: tuple[dict[int, float], ...], verdict: str) -> None:
    (_, record) = judge(SPEC, 4, WORKERS, [gradients(*errors)], {})
    assert record.verdict == verdict
    if verdict == "rounding" and errors[2]:
        assert "other elements on other inputs" in record.reason
