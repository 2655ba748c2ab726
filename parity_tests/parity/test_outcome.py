"""Rung 7 (repro.parity.training_rungs.compare_outcomes): accuracies after a short training may differ by chance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from repro.data import open_dataset
from repro.parity import training_rungs
from repro.parity.training_rungs import compare_outcomes
from repro.specs import find_spec

NAME = "shufflenet_v1_g1_x0_25"
LABELS = open_dataset("digits", split="every-fifth", seed=0).val.labels


@pytest.fixture
def training_requests(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], tuple[int, ...], str]]:
    """The requests to train: backends that train at the same time, shape of the images, and optimizer.

    The name of a backend is the share of images that it classifies correctly, followed by a * where it does better from
    the second attempt on.
    """
    requests: list[tuple[list[str], tuple[int, ...], str]] = []

    def request_all(
        workers: dict[str, Any], what: str, arrays: Any = None, **details: Any
    ) -> dict[str, tuple[Any, Any]]:
        if what == "create_model":
            assert details["options"] == {"num_classes": 10}
            return dict.fromkeys(workers, (None, {}))
        requests.append((list(workers), arrays["images"].shape, details["settings"]["optimizer"]))
        answers = {}
        for backend in workers:
            labels = LABELS[: len(arrays["val_images"])]
            share = 0.9 if backend.endswith("*") and len(requests) > 1 else float(backend.strip("*"))
            right = np.arange(len(labels)) < share * len(labels)
            answers[backend] = (None, {"logits": np.eye(10)[np.where(right, labels, (labels + 1) % 10)]})
        return answers

    monkeypatch.setattr(training_rungs, "request_all", request_all)
    return requests


def verdicts(*backends: str, name: str = NAME) -> list[str]:
    spec = find_spec(name)
    return [record.verdict for record in compare_outcomes(spec, dict.fromkeys(backends), {}, 0)]  # type: ignore[arg-type]


def test_what_chance_allows(training_requests: list) -> None:
    # 364 images, of which 90 % are right: a standard error of 2.2 points of the difference, four of which are allowed
    assert verdicts("0.9", "0.90", "0.83", "0.97") == ["equal", "equal", "rounding", "rounding"]
    assert training_requests == [(["0.9", "0.90", "0.83", "0.97"], (89, 16, 3, 32, 32), "adam")]


@pytest.mark.parametrize(
    ("name", "steps", "optimizer"), [("mobilenet_v2", 89, "adam"), ("resnet50", 5, "adam"), ("vgg16", 5, "sgd")]
)
def test_only_large_networks_take_fewer_steps(name: str, steps: int, optimizer: str, training_requests: list) -> None:
    assert verdicts("0.9", "0.90", name=name) == ["equal", "equal"]
    assert training_requests == [(["0.9", "0.90"], (steps, 16, 3, 32, 32), optimizer)]


def test_another_accuracy_is_tried_in_another_order_and_then_diverges(training_requests: list) -> None:
    assert verdicts("0.9", "0.7", "0.89") == ["equal", "diverges", "rounding"]
    assert [backends for backends, *_ in training_requests] == [["0.9", "0.7", "0.89"], ["0.9", "0.7"], ["0.9", "0.7"]]


def test_an_accuracy_may_be_chance(training_requests: list) -> None:
    assert verdicts("0.9", "0.7*") == ["equal", "equal"]
    assert len(training_requests) == 2
