"""MobileNetV3 against torchvision, Paddle and MindCV on shared random weights. Its counts are in test_specs.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[..., Any]
Require = Callable[[str], None]


@pytest.mark.slow
@pytest.mark.parametrize("size", ["large", "small"])
def test_equals_torchvision(size: str, run_program: Run, require_backend: Require) -> None:
    """Logits in float64, at every width, dropout, epsilon and momentum are equal."""
    require_backend("torch")
    for width in (0.35, 0.5, 0.75, 1.0):
        shapes = [(64, 64), (65, 47), (96, 96)]
        result = run_program("torch", "mobilenet_v3:torchvision_errors", size, width, shapes)
        assert max(result["errors"]) < 1e-12, (width, result["errors"])
        assert result["settings"] == result["torchvision_settings"]


@pytest.mark.parametrize(("size", "width"), [("large", 0.35), ("small", 0.75)])
def test_equals_paddle_except_for_its_hard_sigmoid(
    size: str, width: float, run_program: Run, require_backend: Require
) -> None:
    """The slope of Paddle's hard sigmoid is 0.1666667 instead of 1/6. The comparison is in float64."""
    require_backend("paddle")
    errors = run_program("paddle", "mobilenet_v3:paddle_errors", size, width, [(64, 64), (65, 47)])
    assert 1e-10 < errors["their hard sigmoid"][0] < 1e-5
    assert max(errors["our hard sigmoid"]) < 1e-12


@pytest.mark.slow
@pytest.mark.parametrize(("size", "width"), [("large", 0.35), ("small", 0.75)])
def test_equals_mindcv_except_for_its_epsilon_and_padding(
    size: str, width: float, run_program: Run, require_backend: Require
) -> None:
    """MindCV's epsilon is 1e-5, and its depthwise convolutions pad as in TensorFlow.

    That padding differs from ours where maps have even sides: 66 and 33 are odd after the first convolution. A
    tolerance of 1e-5 is a hundred times the rounding of float32.
    """
    require_backend("mindspore")
    errors = run_program("mindspore", "mobilenet_v3:mindcv_errors", size, width, [(66, 33), (64, 33)])
    assert errors["our epsilon"][0] > 1e-4
    assert errors["reference epsilon"][0] < 1e-5
    assert errors["reference epsilon"][1] > 1e-4
