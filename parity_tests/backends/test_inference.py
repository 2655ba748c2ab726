"""backends.paddle.inference: predictions by a graph of paddle.inference instead of in eager mode."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.slow
def test_graphs_follow_the_weights(
    run_program: Callable[..., Any], require_backend: Callable[[str], None], tmp_path: Path
) -> None:
    """After each change of weights, for other batch and image sizes, after failures and on a GPU."""
    require_backend("paddle")
    result = run_program("paddle", "inference:predictions", "shufflenet_v1_g3_x0_25", 65, 47, str(tmp_path))
    assert set(result["errors"]) == {
        "initial weights", "another batch size", "after a step", "after an update", "other weights",
        "another image size",
    }  # fmt: skip
    assert 0 < max(result["errors"].values()) < 1e-4, result["errors"]
    # eager until twice the pixels of a batch were predicted, and again after new weights
    assert result["paths"] == [0, 0, 1, 1, 0, 0, 1]
    assert result["fallbacks"] == [True] * 4
    assert result["messages"] == "paddle.inference fails (division by zero); predictions are eager\n"
    assert result["on a GPU"]
    assert result["device"] == "cpu"
    assert result["left behind"] == []


@pytest.mark.slow
def test_graphs_of_all_families(run_program: Callable[..., Any], require_backend: Callable[[str], None]) -> None:
    """No operator of oneDNN writes beyond its memory, as its padding of channels did, which ended the process."""
    require_backend("paddle")
    errors = run_program("paddle", "inference:errors_of_graphs", 64)
    assert len(errors) > 8
    assert max(errors.values()) < 1e-4, errors
