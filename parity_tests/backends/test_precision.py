"""Mixed precision: how far a training step may be from float32, and which precisions a backend refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity_tests.support.made_up import QUICK
from repro.errors import ReproError
from repro.interface import TrainSettings
from repro.run import main as train
from repro.weights import safetensors_file

Run = Callable[..., Any]
Require = Callable[[str], None]

# precision, compiled
CASES = {
    "torch": [("float32", True), ("bfloat16", True), ("float16", True)],
    "mindspore": [("float32", False), ("float16", True), ("float16", False)],
}
# largest relative L2 errors of predictions, of logits, and of the change of all weights
TOLERANCES = {"bfloat16": (0.05, 0.05, 0.1), "float16": (0.05, 0.005, 0.05)}
LOGIT_BIASES = (0, 12)  # with 12, float16 gradients would all underflow unless the loss were scaled


@pytest.mark.slow
@pytest.mark.parametrize("backend", CASES)
def test_a_step_is_close_to_float32(backend: str, run_program: Run, require_backend: Require, tmp_path: Path) -> None:
    require_backend(backend)
    path = tmp_path / "steps.safetensors"
    run_program(backend, "precision:first_steps", backend, CASES[backend], LOGIT_BIASES, str(path))
    arrays, _ = safetensors_file.load(path)
    for case, (precision, _) in enumerate(CASES[backend]):
        if precision == "float32":
            continue
        for bias in LOGIT_BIASES:
            assert arrays[f"{case}/{bias}/loss"] == pytest.approx(arrays[f"0/{bias}/loss"], rel=0.02)
            for name, tolerance in zip(("predictions", "logits", "change"), TOLERANCES[precision], strict=True):
                expected = arrays[f"0/{bias}/{name}"]
                error = np.linalg.norm(arrays[f"{case}/{bias}/{name}"] - expected) / np.linalg.norm(expected)
                # a smaller error would mean that the step was computed in float32
                assert 1e-7 < error < tolerance, (precision, bias, name, error)


@pytest.mark.parametrize(
    ("backend", "precision", "reason"), [("paddle", "float16", "Paddle has"), ("mindspore", "bfloat16", "give float16")]
)
def test_unsupported_precisions_are_refused(
    backend: str, precision: str, reason: str, run_program: Run, require_backend: Require
) -> None:
    require_backend(backend)
    error = run_program(backend, "precision:refusal", backend, precision)
    assert error.startswith(f"precision is {precision}: ")
    assert reason in error


def test_unknown_precisions_are_refused() -> None:
    with pytest.raises(ReproError, match="unknown precision 'float64'"):
        TrainSettings(precision="float64")
    with pytest.raises(ReproError, match="--precision must be "):
        train([*QUICK, "--precision", "half"])
