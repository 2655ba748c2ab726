"""Frozen weights, and a run that trains the classifier first and then all weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity_tests.support.image_folders import write_photos
from parity_tests.support.made_up import metrics
from repro.arrays import Arrays
from repro.specs import find_spec
from repro.weights import safetensors_file
from repro.weights.init import initialise

Run = Callable[..., Any]


@pytest.mark.slow
def test_no_gradients_are_computed_of_frozen_layers(backend: str, run_program: Run, tmp_path: Path) -> None:
    """A step of the classifier costs what the forward pass of the network costs."""
    expected = {"classifier": False, "": True}
    assert run_program(backend, "fine_tuning:features_with_gradients", backend, str(tmp_path)) == expected


@pytest.mark.slow
def test_the_classifier_is_trained_before_all_weights(backend: str, run_program: Run, tmp_path: Path) -> None:
    """Frozen weights and statistics keep every bit until then; a run resumed there ends like one without a break."""
    write_photos(tmp_path / "photos", count=8)
    run_program(backend, "fine_tuning:two_phases", backend, str(tmp_path / "photos"), str(tmp_path))

    def checkpoint(run: str) -> tuple[Arrays, Arrays]:
        arrays, _ = safetensors_file.load(tmp_path / run / "last/checkpoint.safetensors")
        parts: tuple[Arrays, Arrays] = {}, {}
        for name, array in arrays.items():
            kind, _, key = name.partition("/")
            parts[kind == "optimizer"][key] = array
        return parts

    classes = len(list((tmp_path / "photos").iterdir()))
    start = initialise(find_spec("resnet110_cifar", depth=8, num_classes=classes), 0)
    (frozen, frozen_state), (end, state) = checkpoint("frozen"), checkpoint("whole")
    changed = {name for name, array in frozen.items() if not np.array_equal(array, start[name])}
    assert changed == {"classifier.weight", "classifier.bias"}
    assert {key.partition("/")[2] for key in frozen_state} == changed | {""}
    assert not [name for name, array in end.items() if np.array_equal(array, frozen[name])]
    assert {key.partition("/")[2] for key in state} > changed | {"stem.conv.weight", ""}
    steps = int(frozen_state["steps"]) // 2  # of an epoch
    assert steps == 2 and state["steps"] == steps  # the optimizer started anew
    resumed, resumed_state = checkpoint("resumed")
    for arrays, expected in ((resumed, end), (resumed_state, state)):
        assert arrays.keys() == expected.keys()
        assert not [name for name, array in arrays.items() if not np.array_equal(array, expected[name])]
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "resumed")
