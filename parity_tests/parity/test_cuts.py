"""repro.parity.user_models.cuts: modules that are cut elsewhere agree, and what is wrong behind them does not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from repro.arrays import Arrays
from repro.parity.comparison import ArrayComparison, compare_arrays
from repro.parity.user_models.cuts import ACTIVATIONS, accept_other_cuts

RNG = np.random.default_rng(0)
X, RAW = RNG.standard_normal((2, 2, 3, 5, 4))
IMAGES, LOGITS = RNG.standard_normal((2, 3, 5, 4)), RNG.standard_normal((2, 5))


def verdicts(exact: Arrays, results: Arrays) -> dict[str, str]:
    def compare(name: str) -> ArrayComparison:
        if name not in results:
            return ArrayComparison("diverges", name, None, 1e-6, "it is missing")
        return compare_arrays(name, results[name], exact[name], tolerance=1e-6, dtype=np.float64)

    accepted = accept_other_cuts(exact, results, [compare(name) for name in exact])
    return {name: comparison.verdict for name, comparison in zip(exact, accepted, strict=True)}


def network(activated: np.ndarray, **changes: np.ndarray) -> Arrays:
    """A normalisation with what enters the convolution behind it, and changes of some of that."""
    arrays = {"input of norm": IMAGES, "norm": RAW, "norm.running_mean": IMAGES[0, :, 0, 0], "input of conv": activated,
              "conv": X, "logits": LOGITS}  # fmt: skip
    return arrays | {name.replace("_", " "): array for name, array in changes.items()}


@pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_a_module_may_contain_its_activation(activation: Callable[[np.ndarray], np.ndarray]) -> None:
    activated = activation(RAW)
    pooled = activated[:, :, :2]  # by a module that only one model has
    for exact, results in ((network(pooled), network(pooled, norm=activated)),
                           (network(pooled, norm=activated), network(pooled))):  # fmt: skip
        assert set(verdicts(exact, results).values()) == {"equal", "rounding"}
        wrong = verdicts(exact, results | {"input of conv": pooled + 1e-3})  # the error is behind the activation
        assert (wrong["norm"], wrong["input of conv"]) == ("rounding", "diverges")


def test_an_activation_that_only_one_model_has_is_named_at_the_module() -> None:
    activated = np.maximum(RAW, 0)
    for exact, results in ((network(RAW, norm=RAW), network(activated, norm=activated)),
                           (network(activated, norm=activated), network(RAW, norm=RAW))):  # fmt: skip
        assert verdicts(exact, results)["norm"] == "diverges"


def test_an_activation_that_nobody_knows_passes_on_what_enters_the_next_module() -> None:
    activated = np.sin(RAW)
    assert set(verdicts(network(activated), network(activated, norm=activated)).values()) == {"equal", "rounding"}
    small_error = network(activated, norm=RAW + 1e-4)
    assert verdicts(network(activated), small_error)["norm"] == "diverges"  # a later tolerance might hide it


def test_a_gross_difference_without_consequences_is_a_cut() -> None:
    pooled = np.sin(RAW)[:, :, :2]
    assert verdicts(network(pooled), network(pooled, norm=np.sin(RAW)))["norm"] == "rounding"
    wrong = network(pooled, norm=np.sin(RAW), logits=LOGITS + 1)
    assert verdicts(network(pooled), wrong)["norm"] == "diverges"


def test_layouts_are_turned() -> None:
    last, tokens = RAW.transpose(0, 2, 3, 1), RAW.reshape(2, 3, 20).transpose(0, 2, 1)
    for turned in (last, tokens):
        results = network(X, norm=turned) | {"input of norm": IMAGES.transpose(0, 2, 3, 1)}
        assert set(verdicts(network(X), results).values()) == {"equal", "rounding"}
        wrong = turned.copy()
        wrong[0, 0, 0] += 1e-3
        assert verdicts(network(X), results | {"norm": wrong})["norm"] == "diverges"
    flat = RAW[:, :, :1, :1]
    assert set(verdicts(network(X, norm=flat), network(X, norm=flat[:, :, 0, 0])).values()) == {"equal", "rounding"}


def test_a_border_that_is_cropped_later_is_no_error() -> None:
    large = np.pad(RAW, ((0, 0), (0, 0), (1, 0), (0, 2)))
    assert verdicts(network(X), network(X, norm=large))["norm"] == "rounding"
    wrong = verdicts(network(X), network(X + 1, norm=large))
    assert (wrong["norm"], wrong["input of conv"]) == ("rounding", "diverges")
    padded = network(X) | {"input of conv": np.pad(X, ((0, 0), (0, 0), (1, 1), (1, 1)))}
    assert verdicts(network(X), padded)["input of conv"] == "rounding"
    assert verdicts(network(X), padded | {"conv": X + 1, "logits": LOGITS + 1})["input of conv"] == "diverges"


@pytest.mark.parametrize("name", ["logits", "norm.running_mean", "input of conv"])
def test_outputs_statistics_and_inputs_always_count(name: str) -> None:
    exact = network(X)
    assert verdicts(exact, exact | {name: np.maximum(exact[name], 0)})[name] == "diverges"


def test_missing_and_infinite_arrays_count() -> None:
    exact = network(X)
    assert verdicts(exact, {name: array for name, array in exact.items() if name != "norm"})["norm"] == "diverges"
    assert verdicts(exact, exact | {"norm": np.full_like(RAW, np.inf)})["norm"] == "diverges"


def test_a_later_error_does_not_blame_the_cut() -> None:
    """The normalisation of the other model contains its ReLU; what is wrong is a later convolution."""
    activated = np.maximum(RAW, 0)
    exact = network(activated)
    results = network(activated, norm=activated, conv=X + 1, logits=LOGITS + 1)
    assert [name for name, verdict in verdicts(exact, results).items() if verdict == "diverges"] == ["conv", "logits"]
