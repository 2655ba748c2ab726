"""repro.workers.model_session: the models that a worker holds between requests."""

from __future__ import annotations

from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

from repro.errors import ReproError
from repro.specs import find_spec
from repro.weights.init import random_weights
from repro.workers import model_session
from repro.workers.user_session import UserModelSession

NAME = "shufflenet_v1_g1_x0_25"
SPEC = find_spec(NAME)
WEIGHTS = random_weights(SPEC, 0)
IMAGES = {"images": np.zeros(1)}


class Model:
    """A model that is only its weights, and counts as alive until it is collected."""

    alive: ClassVar[set[str]] = set()

    def __init__(self, precision: str):
        self.spec, self.precision, self.arrays = SPEC, precision, dict[str, np.ndarray]()
        self.alive.add(precision)
        self.itself = self  # a reference cycle, such as modules and hooks have

    def __del__(self) -> None:
        self.alive.discard(self.precision)


def start_session(*, has_float64: bool = True) -> UserModelSession:
    """A session whose backend computes nothing."""

    def to_float64(build: object) -> Model:
        if not has_float64:
            raise ReproError("no float64")
        return Model("float64")

    backend = SimpleNamespace(
        create_model=lambda spec: Model("float32"), to_float64=to_float64,
        set_dropout_source=lambda model, source: None,
        load_weights=lambda model, arrays: model.arrays.update(arrays), export_weights=lambda model: model.arrays,
        forward=lambda model, images, train, every_module: {"precision": np.array(model.precision)},
        operators=lambda model, size: [],
    )  # fmt: skip
    Model.alive.clear()
    session = UserModelSession(backend)  # type: ignore[arg-type]
    session.create_model(WEIGHTS, name=NAME, options={})
    return session


@pytest.mark.parametrize("is_large", [False, True])
def test_a_large_network_has_one_model_at_a_time(is_large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = SPEC.params if is_large else 10 * SPEC.params
    monkeypatch.setattr(model_session, "LARGE_MODEL_PARAMS", limit)
    session = start_session()
    for precision in ("float64", "float32", "float64"):
        _, results = session.forward(IMAGES, float64=precision == "float64")
        assert str(results["precision"]) == precision
        assert {precision} == Model.alive if is_large else len(Model.alive) == 2
    _, exported = session.export_weights({})
    assert all(np.array_equal(exported[name], array) for name, array in WEIGHTS.items())
    assert session.operators({}, size=32)[0] == []


def test_a_framework_without_float64_keeps_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_session, "LARGE_MODEL_PARAMS", SPEC.params)
    session = start_session(has_float64=False)
    assert session.forward(IMAGES, float64=True) == (None, {})
    session.forward(IMAGES)
    model = session.models[False, False]
    assert session.forward(IMAGES, float64=True) == (None, {})
    session.forward(IMAGES)
    assert session.models[False, False] is model
