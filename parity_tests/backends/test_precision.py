"""Mixed precision: what it changes, what it leaves alone, and who refuses it."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest

from parity_tests.support.made_up import QUICK
from repro.errors import ReproError
from repro.interface import TrainSettings
from repro.run import main as train

Run = Callable[[str, str], str]

# the first step's loss and its change of all weights; a net so sure of itself that in float16 every gradient would be 0
CODE = """
import json
from dataclasses import replace
import numpy as np
from backends.{backend} import create_model, create_trainer
from repro.interface import TrainSettings
from repro.specs import find_spec
from repro.weights.init import initialise
spec = find_spec("asymmnet_small", num_classes=4, dropout=0.0)
spec = replace(spec, stages=spec.stages[:3])
weights = initialise(spec, 0)
images = np.random.default_rng(0).standard_normal((8, 3, 64, 64)).astype(np.float32)
found = []
for precision, compiled in {cases}:
    settings = TrainSettings(precision=precision, compiled=compiled, momentum=0.0)
    trainer = create_trainer(create_model(spec), settings)
    for sure in (0, 12):
        weights["classifier.bias"][0] = sure
        trainer.load_weights(weights)
        before = trainer.predict(images)
        loss, logits = trainer.step(images, np.zeros(8, np.int64), 1.0)
        after = trainer.weights()
        assert all(array.dtype == np.float32 for array in (before, logits, *after.values()))
        change = np.concatenate([(after[name] - weights[name]).ravel() for name in settings.trained_shapes(spec)])
        found.append((sure, precision, loss, before.tolist(), logits.tolist(), change.tolist()))
print(json.dumps(found))
"""
CASES = {
    "torch": [("float32", True), ("bfloat16", True), ("float16", True)],
    "mindspore": [("float32", False), ("float16", True), ("float16", False)],
}


@pytest.mark.parametrize("backend", CASES)
def test_a_step_is_near_that_in_float32(backend: str, run_in: Run, require_backend: Callable[[str], None]) -> None:
    require_backend(backend)
    found = json.loads(run_in(backend, CODE.format(backend=backend, cases=CASES[backend])).splitlines()[-1])
    exact = {sure: values for sure, precision, *values in found if precision == "float32"}
    for sure, precision, loss, *values in found:
        if precision == "float32":
            continue
        assert loss == pytest.approx(exact[sure][0], rel=0.02)
        near = {"bfloat16": (0.05, 0.05, 0.1), "float16": (0.05, 0.005, 0.05)}[precision]
        for value, right, limit in zip(map(np.array, values), exact[sure][1:], near, strict=True):
            error = np.linalg.norm(value - right) / np.linalg.norm(right)
            assert 1e-7 < error < limit, (sure, precision, error)  # below, it would be float32 after all


def test_what_cannot_be_computed_is_refused(run_in: Run, require_backend: Callable[[str], None]) -> None:
    for backend, precision, told in (("paddle", "float16", "Paddle has"), ("mindspore", "bfloat16", "give float16")):
        require_backend(backend)
        run_in(backend, f"""
from backends.{backend} import create_model, create_trainer
from repro.errors import ReproError
from repro.interface import TrainSettings
try:
    create_trainer(create_model("asymmnet_small", num_classes=4), TrainSettings(precision="{precision}"))
except ReproError as error:
    assert str(error).startswith("precision is {precision}: ") and "{told}" in str(error), error
else:
    raise AssertionError("taken")
""")  # fmt: skip


def test_only_known_precisions() -> None:
    with pytest.raises(ReproError, match="unknown precision 'float64'"):
        TrainSettings(precision="float64")
    with pytest.raises(ReproError, match="--precision must be "):
        train([*QUICK, "--precision", "half"])
