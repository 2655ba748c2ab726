"""EfficientNetV2 against torchvision, timm and MindCV on shared random weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

Run = Callable[..., Any]
Require = Callable[[str], None]

EVEN_AND_ODD = (64, 33)  # one side is even at every convolution of stride 2, and the other is odd
ODD = (65, 33)


@pytest.mark.slow
def test_equals_torchvision(run_program: Run, require_backend: Require) -> None:
    """Logits in float64, epsilon, momentum, dropout and drop path are equal. The larger sizes are counted.

    Where a convolution of stride 2 meets an even side, torchvision pads differently from the authors' "same" padding.
    """
    require_backend("torch")
    result = run_program("torch", "efficientnet_v2:torchvision_errors", [EVEN_AND_ODD], [(64, 64), ODD])
    assert result["errors"][0] < 1e-12
    assert result["settings"] == result["torchvision settings"]
    assert np.allclose(result["torchvision drop-path rates"], result["drop-path rates"], atol=1e-12)
    even, odd = result["errors with same padding"]
    assert even > 1e-4
    assert odd < 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("size", ["b0", "s"])
def test_equals_timms_port_of_the_authors_network(size: str, run_program: Run, require_backend: Require) -> None:
    """timm's tf_efficientnetv2 pads as TensorFlow does. The comparison is in float64."""
    require_backend("torch")
    assert run_program("torch", "efficientnet_v2:timm_port_error", size, EVEN_AND_ODD) < 1e-12


@pytest.mark.slow
def test_equals_timm_except_for_its_epsilon(run_program: Run, require_backend: Require) -> None:
    """timm's efficientnetv2 pads as torchvision does and has an epsilon of 1e-5. The comparison is in float64."""
    require_backend("torch")
    errors = run_program("torch", "efficientnet_v2:timm_errors", EVEN_AND_ODD)
    assert errors["reference epsilon"] > 1e-6
    assert errors["our epsilon"] < 1e-12


@pytest.mark.slow
def test_equals_mindcv_except_for_its_epsilon(run_program: Run, require_backend: Require) -> None:
    """MindCV keeps MindSpore's defaults: the authors' "same" padding, but an epsilon of 1e-5 instead of 1e-3.

    A tolerance of 1e-5 is a hundred times the rounding of float32.
    """
    require_backend("mindspore")
    errors = run_program("mindspore", "efficientnet_v2:mindcv_errors", [(64, 64), (65, 47)])
    assert errors["our epsilon"][0] > 1e-4
    assert max(errors["reference epsilon"]) < 1e-5
    assert errors["symmetric padding"][0] > 1e-4
