"""Evaluation by convolutions that contain normalisations, and in PyTorch activations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

NETWORKS = [
    # name, pixels, channels, fused convolutions, normalisations that remain
    ("asymmnet_small_x0_35", 32, 1, 34, 0),
    ("mobilenet_v2_x0_35", 32, 3, 52, 0),
    ("densenet121", 32, 3, 59, 62),
    ("shufflenet_v1_g3_x0_25", 32, 3, 49, 0),
    ("shufflenet_v2_x0_5", 32, 3, 56, 0),
    ("efficientnet_v2_b0_same", 32, 3, 59, 0),
    ("resnet50_v2", 32, 3, 32, 17),
    ("resnet110_cifar", 16, 3, 7, 0),
    ("resnet110_cifar_full_preact", 16, 3, 7, 4),
    ("vgg16_bn", 32, 3, 13, 0),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size", "channels", "fused", "norms"), NETWORKS)
def test_fused_predictions_are_as_exact(
    run_program: Callable[..., Any], require_backend: Callable[[str], None], name, size, channels, fused, norms
) -> None:
    require_backend("torch")
    result = run_program("torch", "fused_convolutions:errors", name, size, channels)
    assert (result["fused convolutions"], result["normalisations"]) == (fused, norms)
    assert result["fused"] < 3 * result["plain"] + 1e-6 and result["plain"] < 1e-4


def test_predictions_follow_the_weights(
    run_program: Callable[..., Any], require_backend: Callable[[str], None]
) -> None:
    require_backend("torch")
    result = run_program("torch", "fused_convolutions:changes_of_weights")
    assert [case for case, holds in result.items() if not holds] == []


FOLDED = [
    # name, pixels, channels, pairs of a convolution and its normalisation, normalisations that remain
    ("asymmnet_small_x0_35", 32, 1, 34, 0),
    ("mobilenet_v2_x0_35", 32, 3, 52, 0),
    ("densenet121", 32, 3, 59, 62),
    ("rdnet_tiny", 32, 3, 0, 0),
    ("shufflenet_v1_g3_x0_25", 32, 3, 49, 0),
    ("shufflenet_v2_x0_5", 32, 3, 56, 0),
    ("efficientnet_v2_b0_same", 32, 3, 59, 0),
    ("resnet50", 32, 3, 53, 0),
    ("resnet50_v2_keras", 32, 3, 32, 17),
    ("resnet110_cifar", 16, 3, 7, 0),
    ("resnet110_cifar_full_preact", 16, 3, 3, 4),
    ("vgg16_bn", 32, 3, 13, 0),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size", "channels", "pairs", "norms"), FOLDED)
def test_mindspore_folds_normalisations(
    run_program: Callable[..., Any], require_backend: Callable[[str], None], name, size, channels, pairs, norms
) -> None:
    require_backend("mindspore")
    result = run_program("mindspore", "folded_pairs:differences", name, size, channels)
    assert (result["pairs"], result["normalisations"]) == (pairs, norms)
    assert result["hidden"] == 2 * pairs  # what leaves the convolution and enters the normalisation
    assert result["plain"]
    assert result["fused"] < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(("name", "compiled"), [("shufflenet_v1_g3_x0_25", True), ("densenet121", False)])
def test_mindspore_predictions_follow_the_weights(
    run_program: Callable[..., Any], require_backend: Callable[[str], None], name: str, compiled: bool
) -> None:
    require_backend("mindspore")
    result = run_program("mindspore", "folded_pairs:changes_of_weights", name, compiled)
    assert [case for case, holds in result.items() if not holds] == []
