"""Keras models on PyTorch are user models of the torch backend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from repro.errors import ReproError
from repro.parity.causes.culprits import explain_divergences
from repro.parity.user_models.inputs import parse_inputs
from repro.parity.user_models.models import load_random_weights, load_user_models
from repro.parity.user_models.rungs import run_user_rungs
from repro.workers.client import Worker

FOLDER = Path(__file__).resolve().parents[1] / "programs/user_models"


@pytest.mark.slow
def test_a_keras_model_agrees_or_its_mistakes_are_named(
    require_backend: Callable[[str], None], require_package: Callable[[str], None]
) -> None:
    require_backend("torch")
    require_package("keras")
    lines: list[str] = []
    with Worker("torch") as first, Worker("torch") as second:
        workers = {"torch": first, "torch#2": second}

        def compare(function: str) -> list[str]:
            sources = {"torch": "keras_net:Net", "torch#2": f"keras_net:{function}"}
            inputs = parse_inputs(["2,3,12,10"])
            models = load_user_models(workers, sources, inputs, None, lines.append, folder=FOLDER)
            weights = load_random_weights(models, 0)
            records = [record for record in run_user_rungs(models, (0, 1, 2, 4), weights, 0) if not record.agrees]
            causes = [cause for record in explain_divergences(models, records, weights, 0) for cause in record.causes]
            return [f"rung {cause.rung}: {cause.sentence}" for cause in causes] or [r.sentence for r in records]

        assert compare("build") == []
        with pytest.raises(ReproError, match=r"the Keras model sequential\S* has no weights yet; call it once"):
            compare("without_input")
        (limit,) = compare("with_limit")
        assert "torch computes relu(norm), and torch#2 clip(norm; from 0 to 1)" in limit
        (epsilon, *_) = compare("with_epsilon")
        assert "its epsilon is 0.001 in torch and 0.0001 in torch#2" in epsilon
