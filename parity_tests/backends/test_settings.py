"""What repro.interface.TrainSettings refuses: bad values, and the state of a training under other settings."""

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
        ({"momentum": 1.0}, "momentum is 1.0; give a number from 0 to less than 1"),
        ({"momentum": "0.9"}, "momentum is '0.9'; give"),
        ({"weight_decay": -1e-4}, "weight_decay is -0.0001; give a number from 0 up"),
        ({"weight_decay": float("nan")}, "weight_decay is nan; give"),
        ({"betas": (0.9, 1.0)}, r"betas\[1\] is 1.0; give"),
        ({"betas": (0.9,)}, r"betas are \(0.9,\); give two numbers"),
        ({"betas": 0.9}, "betas are 0.9; give two numbers"),
        ({"eps": 0.0}, "eps is 0.0; give a number above 0"),
        ({"alpha": -0.1}, "alpha is -0.1; give"),
        ({"clip_norm": 0}, "clip_norm is 0; give a number above 0"),
        ({"clip_norm": float("inf")}, "clip_norm is inf; give"),
        ({"label_smoothing": 1.0}, "label_smoothing is 1.0; give"),
        ({"ema_decay": 1}, "ema_decay is 1; give"),
        ({"ema_decay": True}, "ema_decay is True; give"),
        ({"nesterov": True, "momentum": 0.0}, "nesterov is True with sgd and a momentum of 0.0; it needs"),
        ({"nesterov": True, "optimizer": "adam"}, "nesterov is True with adam"),
    ],
)
def test_a_bad_setting_is_one_line(options: dict, message: str) -> None:
    with pytest.raises(ReproError) as caught:
        TrainSettings(**options)
    assert re.match(message, str(caught.value)) and "\n" not in str(caught.value)


def test_a_state_of_other_settings_is_refused() -> None:
    adam = TrainSettings(optimizer="adam")
    state = adam.complete_state({}, SPEC)
    assert state["steps"].shape == () and len(state) == 2 * len(TRAINED) + 1
    assert adam.complete_state(state, SPEC).keys() == state.keys()
    name = TRAINED[0]
    for broken, message in (
        ({key: array for key, array in state.items() if key != "steps"}, "steps is missing"),
        (state | {f"velocity/{name}": np.zeros(1)}, f"velocity/{name} is unexpected"),
        (state | {f"moment2/{name}": np.zeros(1)}, f"moment2/{name} is of another shape"),
    ):
        with pytest.raises(ReproError, match=re.escape(message)):
            adam.complete_state(broken, SPEC)
    with pytest.raises(ReproError, match=r"ema/classifier.bias is missing"):
        TrainSettings(ema_decay=0.9).complete_state(TrainSettings().complete_state({}, SPEC), SPEC)
