"""Convolutions of small maps that are computed as matrix products, against the frameworks' kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[..., Any]


@pytest.mark.parametrize("name", ["paddle", "mindspore"])
def test_depthwise_by_matrices_equals_the_kernel(
    name: str, run_program: Run, require_backend: Callable[[str], None]
) -> None:
    """Outputs and the gradients of images and weights."""
    require_backend(name)
    results = run_program(name, "depthwise:errors_of_depthwise", name)
    assert len(results) == 6
    for case, errors in results:
        assert len(errors) == 3
        assert max(errors) <= 1e-5, (case, errors)


def test_pointwise_by_one_matrix_equals_the_kernel(run_program: Run, require_backend: Callable[[str], None]) -> None:
    """Outputs and the gradients of images, weights and biases; other strides, groups and paddings take the kernel."""
    require_backend("paddle")
    results = run_program("paddle", "depthwise:errors_of_pointwise")
    assert [len(errors) for _, errors in results] == [4, 3, 4]
    for case, errors in results:
        assert max(errors) <= 1e-5, (case, errors)


def test_grouped_by_matrices_equals_the_kernel(run_program: Run, require_backend: Callable[[str], None]) -> None:
    """Outputs and all gradients agree in torch's float64, and the kernel still computes the other layers."""
    require_backend("torch")
    result = run_program("torch", "depthwise:grouped_convolutions_of_torch")
    for layer, uses_kernel, kernel_calls, errors in result["cases"]:
        assert kernel_calls == int(uses_kernel), layer
        assert len(errors) in (3, 4), layer  # output, gradients of images, weights and biases
        assert max(errors) <= 1e-13, (layer, errors)
    assert result["shape_without_batch"] == [4, 1, 1]
    assert "can't be greater than actual input size" in result["too_small_error"], "2x2 is too small for a 3x3 kernel"
