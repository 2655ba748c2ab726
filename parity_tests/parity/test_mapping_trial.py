"""repro.parity.user_models.mapping_trial: doubtful pairs are tried, and the alternative that agrees is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from repro.errors import ReproError
from repro.parity.user_models.inputs import parse_inputs
from repro.parity.user_models.mapping_trial import MAX_TRIALS, MappingTrial
from repro.parity.user_models.weight_entry import WeightEntry
from repro.weights.weight_pairs import Pair

INPUTS = parse_inputs(["2,3,4,4"])
LEFT = ("stem", "query", "value", "head")


class FakeWorker:
    """A worker whose model applies layers of one weight one after another."""

    def __init__(self, layers: tuple[str, ...], *, error: float = 0.0, fails: bool = False):
        """layers: in the order of execution; error: added to what leaves the first one."""
        self.layers, self.error, self.fails, self.passes = layers, error, fails, 0

    def request(self, request: str, arrays: dict[str, np.ndarray], **details: Any) -> tuple[Any, dict[str, np.ndarray]]:
        if request == "load_user_weights":
            self.weights = {right[0]: arrays[left[0]] for left, right in details["pairs"] if left and right}
            self.names = details["names"]
            return None, {}
        self.passes += 1
        if self.fails:
            raise ReproError("it does not run")
        x, results = arrays["images"], {}
        for index, layer in enumerate(self.layers):
            if layer in self.names:
                results[f"input of {self.names[layer]}"] = x
            weight = self.weights[f"{layer}.weight"]
            x = np.tanh(x * weight.sum() + weight[0]) + (self.error if index == 0 else 0)
        return None, results | {"logits": x}


def entries(layers: tuple[str, ...]) -> list[WeightEntry]:
    return [WeightEntry(f"{layer}.weight", (8,), "other", 1, layer) for layer in layers]


def settle(left: FakeWorker, right: FakeWorker, pairs: list[Pair]) -> list[Pair]:
    models = {"torch": left, "paddle": right}
    workers: Any = models
    trial = MappingTrial(workers, {name: entries(model.layers) for name, model in models.items()}, INPUTS)
    return trial.settle_doubts("paddle", pairs)


def pairs(right: tuple[str, ...], doubtful: tuple[str, ...] = ("query", "value")) -> list[Pair]:
    return [
        Pair((f"{left}.weight",), (f"{name}.weight",), "by its name" if left in doubtful else "")
        for left, name in zip(LEFT, right, strict=True)
    ]


RIGHT = ("a", "q", "v", "z")
CROSSED = ("a", "v", "q", "z")


def test_the_alternative_that_agrees_is_kept_without_doubt() -> None:
    assert settle(FakeWorker(LEFT), FakeWorker(RIGHT), pairs(CROSSED)) == pairs(RIGHT, ())


def test_right_pairs_lose_their_doubts() -> None:
    worker = FakeWorker(RIGHT)
    assert settle(FakeWorker(LEFT), worker, pairs(RIGHT)) == pairs(RIGHT, ())
    assert worker.passes == 1


def test_a_small_error_elsewhere_does_not_keep_the_wrong_pairs_and_leaves_the_doubt() -> None:
    assert settle(FakeWorker(LEFT), FakeWorker(RIGHT, error=0.02), pairs(CROSSED)) == pairs(RIGHT)


def test_pairs_without_a_doubt_stay() -> None:
    crossed = pairs(CROSSED, doubtful=("head",))
    assert settle(FakeWorker(LEFT), FakeWorker(RIGHT), crossed)[1:3] == [pairs(RIGHT, ())[1], pairs(RIGHT, ())[2]]
    assert settle(FakeWorker(LEFT), FakeWorker(RIGHT, error=2.0), pairs(RIGHT)) == pairs(RIGHT)


def test_a_weight_of_one_model_only_stays() -> None:
    lonely = [*pairs(CROSSED), Pair((), ("v.bias",), "does not influence the output")]
    assert settle(FakeWorker(LEFT), FakeWorker(RIGHT), lonely) == [*pairs(RIGHT, ()), lonely[-1]]


def test_the_number_of_trials_is_bounded() -> None:
    layers = tuple(f"l{index}" for index in range(12))
    worker = FakeWorker(layers, error=5.0)
    crossed = [Pair((f"l{i}.weight",), (f"l{11 - i}.weight",), "?") for i in range(12)]
    settle(FakeWorker(layers), worker, crossed)
    assert worker.passes <= MAX_TRIALS


@pytest.mark.parametrize("fails", ["left", "right"])
def test_a_model_that_does_not_run_keeps_its_pairs(fails: str) -> None:
    left, right = FakeWorker(LEFT, fails=fails == "left"), FakeWorker(RIGHT, fails=fails == "right")
    assert settle(left, right, pairs(CROSSED)) == pairs(CROSSED)
