"""A backend's models as its users meet them: calls in the framework's own way, and strict loading of weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Run = Callable[..., Any]


def test_a_model_is_used_as_in_a_notebook(backend: str, run_program: Run) -> None:
    result = run_program(backend, "model:call_and_export", backend)
    assert result["is_native"]
    assert result["logits_shape"] == [2, 16]
    assert result["exported_names"] == result["canonical_names"]
    assert result["differing_weights"] == []
    assert result["stage_names"] == result["expected_stage_names"]
    assert result["same_logits_with_stages"], "recording the stages changed the logits"
    assert result["export_is_a_copy"], "export_weights returned views of the model's weights"


def test_bad_models_and_weights_are_refused(backend: str, run_program: Run) -> None:
    result = run_program(backend, "model:refuse_bad_input", backend)
    assert result["changed_weights"] == []
    for name, error in result["weight_errors"]:
        assert name in error, error
    assert [case for case, error in result["model_errors"] if not error] == []
