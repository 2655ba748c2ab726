"""The comparison of user models passes no faulty port: each fault is named, or the verdict is unanswerable.

The models are in parity_tests/programs/user_models, TORCH_parts and so on; pairs of equal ones must agree.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from repro.errors import ReproError
from repro.parity.__main__ import main
from repro.parity.record import Record
from repro.parity.user_models.inputs import parse_inputs
from repro.parity.user_models.models import load_random_weights, load_user_models
from repro.parity.user_models.rungs import run_user_rungs
from repro.workers.client import Worker

FOLDER = Path(__file__).resolve().parents[1] / "programs/user_models"
Compare = Callable[..., dict[tuple[int, str], Record]]


@pytest.fixture
def compare(
    workers: dict[str, Worker], monkeypatch: pytest.MonkeyPatch, require_backend: Callable[[str], None]
) -> Compare:
    """A function that compares a function of torch_parts with one of another framework, "torch" or "paddle"."""
    monkeypatch.chdir(FOLDER)

    def run(rungs: list[int], torch: str, other: str, backend: str = "paddle") -> dict[tuple[int, str], Record]:
        functions = {"torch": torch, backend: other}
        for name in functions:
            require_backend(name)
        sources = {name: f"{name}_parts:{function}" for name, function in functions.items()}
        chosen = {name: workers[name] for name in functions}
        models = load_user_models(chosen, sources, parse_inputs(["2,3,8,8"]), None, lambda line: None)
        weights = load_random_weights(models, 0)
        return {(record.rung, record.backend): record for record in run_user_rungs(models, rungs, weights, 0)}

    return run


SHARED = ("dropout", "dropout2d", "alpha_dropout", "feature_alpha_dropout", "drop_everything")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rungs", "torch", "other", "backend"),
    [
        *(([0, 2], name, name, "paddle") for name in SHARED),
        *(([0, 2], name, name, "mindspore") for name in SHARED[:2]),
        ([2], "dropout2d", "dropout_by_axes", "paddle"),
        *(([0, 4], name, name, "paddle") for name in ("frozen", "tied")),
        ([0, 4], "frozen", "frozen", "mindspore"),
        ([0, 1, 4], "channel_attention", "channel_attention", "mindspore"),
        ([0], "frozen", "frozen_by_rate", "paddle"),
        *(([0, 1], name, name, "paddle") for name in ("layer_norm", "functional_batch_norm", "average_pool")),
        *(([0], name, name, "paddle") for name in ("leaky", "gelu", "max_pool", "fixed_norm")),
        ([2], "batch_norm", "batch_norm", "paddle"),
        ([0], "batch_norm", "batch_norm", "mindspore"),
        ([0], "evaluation", "plain", "paddle"),
    ],
)
def test_equal_models_agree(rungs: list[int], torch: str, other: str, backend: str, compare: Compare) -> None:
    records = compare(rungs, torch, other, backend)
    assert [record.sentence for record in records.values() if not record.agrees] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("torch", "other", "backend"),
    [
        *((name, "plain", "paddle") for name in SHARED),
        ("plain", "dropout2d", "paddle"),
        ("dropout2d", "dropout", "paddle"),
        ("dropout", "alpha_dropout", "paddle"),
        ("dropout", "downscale", "paddle"),
        ("dropout", "other_rate", "paddle"),
        ("dropout2d", "plain", "mindspore"),
    ],
)
def test_other_dropout_diverges_in_training_mode(torch: str, other: str, backend: str, compare: Compare) -> None:
    assert compare([2], torch, other, backend)[2, backend].diverges


NET = "the model itself (Net) draws random numbers"
RANDOM = {  # torch's function, the other one, backend: the clause about what is random in training mode
    ("functional", "plain", "paddle"): f"in torch's model, {NET}",
    ("functional2d", "plain", "paddle"): f"in torch's model, {NET}",
    ("stochastic_depth", "plain", "paddle"): "in torch's model, part (StochasticDepth) draws random numbers",
    ("rrelu", "plain", "paddle"): "in torch's model, part (RReLU) draws random numbers",
    ("subclass", "dropout", "paddle"): "in torch's model, part (OwnDropout) draws random numbers",
    ("rare_torch", "plain", "paddle"): "in torch's model, part (RareSkip) draws random numbers",
    ("rare_numpy", "plain", "paddle"): "in torch's model, part (RareSkip) draws random numbers",
    ("rare_python", "plain", "paddle"): "in torch's model, part (RareSkip) draws random numbers",
    ("own_generator", "plain", "paddle"): "in torch's model, part (OwnGenerator) differs from one run to the next",
    ("built_noise", "plain", "paddle"): "part (BuiltNoise) differs between two models that the function builds",
    ("plain", "functional", "paddle"): f"in paddle's model, {NET}",
    ("plain", "functional2d", "paddle"): f"in paddle's model, {NET}",
    ("plain", "rare_paddle", "paddle"): f"in paddle's model, {NET}",
    ("plain", "rare_numpy", "paddle"): f"in paddle's model, {NET}",
    ("plain", "functional", "mindspore"): "in mindspore's model, input of hidden differs from one run to the next",
    ("functional", "functional", "paddle"): f"{NET} in training mode; in paddle's model, {NET}",
    ("functional", "padding", "paddle"): f"in torch's model, {NET}",
}


@pytest.mark.parametrize("models", RANDOM, ids="-".join)
def test_randomness_is_named_and_leaves_no_verdict(models: tuple[str, str, str], compare: Compare) -> None:
    for record in compare([2], *models).values():
        assert record.verdict == "unanswerable"
        assert "unanswerable until the randomness is shared or switched off" in record.sentence
        assert RANDOM[models] in record.reason


@pytest.mark.slow
def test_randomness_in_one_mode_leaves_the_verdicts_of_the_other(compare: Compare) -> None:
    records = compare([1, 2], "functional", "plain")
    assert (records[1, "paddle"].verdict, records[2, "paddle"].verdict) == ("rounding", "unanswerable")
    records = compare([1], "functional", "padding")
    assert records[1, "paddle"].diverges
    assert compare([1], "always", "plain")[1, "paddle"].reason.endswith(f"{NET} in evaluation mode")


@pytest.mark.slow
def test_the_command_fails_where_it_cannot_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], require_backend: Callable[[str], None]
) -> None:
    for backend in ("torch", "paddle"):
        require_backend(backend)
    monkeypatch.chdir(FOLDER)
    models = ["--torch", "torch_parts:always", "--paddle", "paddle_parts:plain"]
    assert main([*models, "--input", "2,3,8,8", "--rungs", "1"]) == 1
    printed = capsys.readouterr().out
    assert printed.count("unanswerable until the randomness is shared or switched off: in torch's model") == 1
    assert "2 comparisons, 0 diverge, 2 cannot be answered" in printed


STRUCTURE = {
    ("frozen", "plain", "paddle"): "it is frozen in torch and trained in paddle",
    ("plain", "frozen", "paddle"): "it is trained in torch and frozen in paddle",
    ("plain", "frozen_by_rate", "paddle"): "it is trained in torch and frozen in paddle",
    ("plain", "frozen", "mindspore"): "it is trained in torch and frozen in mindspore",
    ("fixed_norm", "batch_norm", "paddle"): "it is in evaluation mode, unlike the model, in torch",
    ("batch_norm", "fixed_norm", "paddle"): "it is in the mode of the model in torch and in evaluation mode",
    ("batch_norm", "small_epsilon", "paddle"): "its epsilon is 1e-05 in torch and 1e-06 in paddle",
    ("batch_norm", "small_epsilon", "mindspore"): "its epsilon is 1e-05 in torch and 1e-06 in mindspore",
    ("batch_norm", "other_momentum", "paddle"): "its momentum is 0.1 in torch and 0.9 in paddle",
    ("dropout", "downscale", "paddle"): "its mode is upscale_in_train in torch and downscale_in_infer in paddle",
    ("dropout", "other_rate", "paddle"): "its rate is 0.4 in torch and 0.3 in paddle",
    ("leaky", "other_slope", "paddle"): "its negative slope is 0.01 in torch and 0.0101 in paddle",
    ("max_pool", "ceil_mode", "paddle"): "its ceil_mode is 0 in torch and 1 in paddle",
    ("average_pool", "border_counts", "paddle"): "its count_include_pad is 0 in torch and 1 in paddle",
    ("gelu", "tanh_gelu", "paddle"): "its tanh approximation is 0 in torch and 1 in paddle",
}


@pytest.mark.parametrize("models", STRUCTURE, ids="-".join)
def test_what_the_functions_return_is_compared(models: tuple[str, str, str], compare: Compare) -> None:
    record = compare([0], *models)[0, models[2]]
    assert record.diverges
    assert STRUCTURE[models] in record.reason


def test_weights_that_only_one_model_shares_have_no_pairs(compare: Compare) -> None:
    with pytest.raises(ReproError, match=r"weights cannot be paired.*torch: .*weight is shared with .*weight"):
        compare([0], "tied", "untied")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("torch", "other", "backend"),
    [
        ("batch_norm", "small_epsilon", "paddle"),
        ("batch_norm", "small_epsilon", "mindspore"),
        ("layer_norm", "small_layer_norm", "paddle"),
        ("functional_batch_norm", "small_functional_batch_norm", "paddle"),
    ],
)
def test_small_epsilons_diverge_on_small_signals(torch: str, other: str, backend: str, compare: Compare) -> None:
    record = compare([1], torch, other, backend)[1, backend]
    assert record.diverges
    points = [error / tolerance for where, error, tolerance in record.profile if "(small signals)" in where and error]
    assert max(points) > 10
