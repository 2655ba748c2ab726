"""TrainSettings refuses values out of range, and a training state that was saved under other settings."""

from __future__ import annotations

import re

import numpy as np
import pytest

from repro.errors import ReproError
from repro.interface import TrainSettings
from repro.specs import STATISTICS, find_spec

SPEC = find_spec("resnet110_cifar", num_classes=5)
TRAINED = [name for name, weight in SPEC.weights.items() if weight.kind not in STATISTICS]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "adan"}, "unknown optimizer 'adan': did you mean adam"),
        ({"optimizer": None}, "unknown optimizer None"),
        ({"momentum": 1.0}, "momentum must be a number from 0 to 0.9999, not 1.0"),
        ({"momentum": "0.9"}, "momentum must be a number from 0 to 0.9999, not '0.9'"),
        ({"weight_decay": -1e-4}, "weight_decay must be a number from 0 to 1, not -0.0001"),
        ({"weight_decay": float("nan")}, "weight_decay must be .*, not nan"),
        ({"betas": (0.9, 1.0)}, r"betas\[1\] must be a number from 0 to 0.999999, not 1.0"),
        ({"betas": (0.9,)}, r"betas must be two numbers, such as \(0.9, 0.999\), not \(0.9,\)"),
        ({"betas": 0.9}, "betas must be two numbers, .*, not 0.9"),
        ({"eps": 0.0}, "eps must be a number above 0 and up to 1, not 0.0"),
        ({"alpha": -0.1}, "alpha must be .*, not -0.1"),
        ({"clip_norm": 0}, "clip_norm must be a number above 0 and up to 1000000, not 0"),
        ({"clip_norm": float("inf")}, "clip_norm must be .*, not inf"),
        ({"label_smoothing": 1.0}, "label_smoothing must be a number from 0 to 0.99, not 1.0"),
        ({"ema_decay": 1}, "ema_decay must be a number from 0 to 0.999999, not 1"),
        ({"ema_decay": True}, "ema_decay must be .*, not True"),
        ({"nesterov": True, "momentum": 0.0}, "nesterov is set with optimizer sgd and momentum 0.0; it needs"),
        ({"nesterov": True, "optimizer": "adam"}, "nesterov is set with optimizer adam and momentum 0.9"),
    ],
)
def test_a_bad_setting_is_one_line(options: dict, message: str) -> None:
    with pytest.raises(ReproError) as caught:
        TrainSettings(**options)
    assert re.match(message, str(caught.value)) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("train_only", "trained_norms"),
    [
        ("", "all"),
        ("classifier", ""),
        ("stem", "stem.norm"),
        ("stages.0.0.branch.1.norm.b", "stages.0.0.branch.1.norm"),
    ],
)
def test_a_normalisation_without_trained_weights_is_frozen(train_only: str, trained_norms: str) -> None:
    norms = {name.removesuffix(".running_var") for name in SPEC.weights if name.endswith(".running_var")}
    trained = norms if trained_norms == "all" else norms & {trained_norms}
    assert trained or not trained_norms
    assert TrainSettings(train_only=train_only).frozen_norms(SPEC) == norms - trained


def test_a_state_of_other_settings_is_refused() -> None:
    adam = TrainSettings(optimizer="adam")
    state = adam.complete_state({}, SPEC)
    assert state["steps"].shape == () and len(state) == 2 * len(TRAINED) + 1
    assert adam.complete_state(state, SPEC).keys() == state.keys()
    name = TRAINED[0]
    for broken, message in (
        ({key: array for key, array in state.items() if key != "steps"}, "steps is missing"),
        (state | {f"velocity/{name}": np.zeros(1)}, f"velocity/{name} is unexpected"),
        (state | {f"moment2/{name}": np.zeros(1)}, f"moment2/{name} is wrongly shaped"),
    ):
        with pytest.raises(ReproError, match=re.escape(message)):
            adam.complete_state(broken, SPEC)
    with pytest.raises(ReproError, match=r"ema/classifier.bias is missing"):
        TrainSettings(ema_decay=0.9).complete_state(TrainSettings().complete_state({}, SPEC), SPEC)
