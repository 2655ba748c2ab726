"""What a worker keeps between requests."""

from __future__ import annotations

from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

from repro.errors import ReproError
from repro.specs import find_spec
from repro.weights.init import random_weights
from repro.workers import model_session

NAME = "shufflenet_v1_g1_x0_25"
SPEC = find_spec(NAME)
WEIGHTS = random_weights(SPEC, 0)


class Model:
    alive: ClassVar[set[str]] = set()

    def __init__(self, precision: str):
        self.spec, self.precision, self.arrays = SPEC, precision, dict[str, np.ndarray]()
        self.alive.add(precision)
        self.itself = self  # as modules and hooks hold each other

    def __del__(self) -> None:
        self.alive.discard(self.precision)


def session(doubles: bool = True) -> model_session.ModelSession:
    """Of a backend whose models know their weights and compute nothing."""

    def to_float64(make: object) -> Model:
        if not doubles:
            raise ReproError("no float64")
        return Model("double")

    backend = SimpleNamespace(
        create_model=lambda spec: Model("single"), to_float64=to_float64, set_dropout_source=lambda model, draw: None,
        load_weights=lambda model, arrays: model.arrays.update(arrays), export_weights=lambda model: model.arrays,
        forward=lambda model, images, train, every_module: {"kind": np.array(model.precision)},
        operators=lambda model, size: [],
    )  # fmt: skip
    Model.alive.clear()
    opened = model_session.ModelSession(backend)  # type: ignore[arg-type]
    opened.create_model(WEIGHTS, name=NAME, options={})
    return opened


@pytest.mark.parametrize("large", [False, True])
def test_large_networks_have_one_model_at_a_time(large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_session, "LARGE_MODEL_PARAMS", SPEC.params if large else 10 * SPEC.params)
    opened = session()
    for double in (True, False, True):
        _order, found = opened.forward({"images": np.zeros(1)}, float64=double)
        assert str(found["kind"]) == ("double" if double else "single")
        assert {"double" if double else "single"} == Model.alive if large else len(Model.alive) == 2
    exported = opened.export_weights({})[1]
    assert all(np.array_equal(exported[name], array) for name, array in WEIGHTS.items())
    assert opened.operators({}, size=32)[0] == []


def test_a_framework_without_float64_keeps_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_session, "LARGE_MODEL_PARAMS", SPEC.params)
    opened = session(doubles=False)
    images = {"images": np.zeros(1)}
    assert opened.forward(images, float64=True) == (None, {})
    opened.forward(images)
    kept = opened.models[False, False]
    assert opened.forward(images, float64=True) == (None, {})
    opened.forward(images)
    assert opened.models[False, False] is kept
