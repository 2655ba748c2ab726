"""Weights cut down to a few values each, on which optimizers are compared."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from repro.specs import STATISTICS, find_spec
from repro.weights import safetensors_file
from repro.weights.init import random_weights
from repro.weights.strict import check_weights
from repro.weights.truncate import corner, truncated_spec


@pytest.mark.parametrize("name", ["asymmnet_large", "vgg16_bn", "rdnet_tiny"])
@pytest.mark.parametrize("limit", [1, 100, 4096])
def test_truncated_shapes(name: str, limit: int) -> None:
    spec = find_spec(name)
    truncated = truncated_spec(spec, limit)
    assert list(truncated.weights) == list(spec.weights)
    for weight, short in zip(spec.weights.values(), truncated.weights.values(), strict=True):
        assert (short.kind, short.groups, len(short.shape)) == (weight.kind, weight.groups, len(weight.shape))
        assert all(0 < cut <= side for cut, side in zip(short.shape, weight.shape, strict=True))
        if weight.kind in STATISTICS or prod(weight.shape) <= limit:
            assert short.shape == weight.shape
        else:
            assert limit / 4 < prod(short.shape) <= limit


def test_a_corner_is_a_view() -> None:
    array = np.arange(12).reshape(3, 4)
    assert corner(array, (2, 3)).tolist() == [[0, 1, 2], [4, 5, 6]]
    assert np.shares_memory(corner(array, (2, 3)), array)
    assert corner(np.array(5.0), ()) == 5


def test_a_truncated_model_is_updated_like_the_full_one(
    backend: str, run_program: Callable[..., Any], tmp_path: Path
) -> None:
    """Weights, EMA weights and optimizer states after two updates with the same gradients."""
    path = tmp_path / "updates.safetensors"
    run_program(backend, "truncate:updates", backend, str(path))
    arrays, _ = safetensors_file.load(path)
    full = {name.removeprefix("full/"): array for name, array in arrays.items() if name.startswith("full/")}
    short = {name.removeprefix("truncated/"): array for name, array in arrays.items() if name.startswith("truncated/")}
    assert set(full) == set(short)
    assert {name.split("/")[1] for name in full} == {"weights", "ema", "state"}
    for name, array in short.items():
        assert array.dtype == full[name].dtype
        expected = corner(full[name], array.shape)
        np.testing.assert_allclose(array, expected, rtol=1e-6, atol=1e-7, err_msg=name)


def test_corners_of_weights_fit_the_truncated_spec() -> None:
    spec = find_spec("asymmnet_small")
    truncated = truncated_spec(spec, 10)
    weights = random_weights(spec, 0)
    corners = {name: corner(weights[name], weight.shape) for name, weight in truncated.weights.items()}
    check_weights(corners, truncated)
