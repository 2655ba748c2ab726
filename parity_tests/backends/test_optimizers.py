"""Training steps under every setting of repro.interface.TrainSettings against its formulas in NumPy's float64.

The gradients come from the backend itself: a second trainer with plain momentum takes over the same weights with
velocities of zero, and its velocities after one step are the gradients. Those of the classifier's bias are also
computed by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity_tests.programs.optimizers import RATES, RESUMED, SETTINGS, STEPS, STEPS_BEFORE_RESUME, subset
from parity_tests.support.optimizer_formulas import OptimizerFormulas
from repro.arrays import Arrays
from repro.interface import TrainSettings

Run = Callable[..., Any]
Require = Callable[[str], None]
Record = Callable[[str], Arrays]


@pytest.fixture(scope="session")  # a module is left and entered again for each backend
def record(
    run_program: Run, require_backend: Require, has_backend: Callable[[str], bool],
    tmp_path_factory: pytest.TempPathFactory,
) -> Record:  # fmt: skip
    """`record(backend)` returns the arrays of record_training. Torch runs first where it is installed."""
    folder: Path = tmp_path_factory.mktemp("optimizers")
    records: dict[str, Arrays] = {}

    def run(backend: str) -> Arrays:
        if backend not in records:
            require_backend(backend)
            if backend != "torch" and has_backend("torch"):
                run("torch")
            torch_path = str(folder / "torch.npz") if "torch" in records else None
            path = str(folder / f"{backend}.npz")
            run_program(backend, "optimizers:record_training", backend, path, torch_path)
            with np.load(path) as file:
                records[backend] = dict(file)
        return records[backend]

    return run


def error(arrays: Arrays, expected: Arrays, before: Arrays | None = None) -> float:
    """The largest difference, relative to the largest value of its array or to a thousandth.

    before: the arrays of the step before, whose values count, too: a weight that comes close to 0 keeps their rounding.
    """
    assert arrays.keys() == expected.keys()
    return max(
        np.abs(arrays[name] - values).max()
        / max(1e-3, np.abs(values).max(), np.abs(before[name]).max() if before else 0)
        for name, values in expected.items()
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_every_update_follows_its_formula(backend: str, name: str, record: Record) -> None:
    arrays, options = record(backend), SETTINGS[name]
    trained = subset(arrays, f"{name}/0/gradient").keys()
    assert all(key.startswith(options.get("train_only", "")) for key in trained)
    frozen = subset(arrays, f"{name}/0/weights").keys() - trained
    frozen_layers = {key.rpartition(".")[0] for key in frozen} - {key.rpartition(".")[0] for key in trained}
    assert bool(frozen_layers) == ("train_only" in options)
    for key in frozen:
        if key.rpartition(".")[0] not in frozen_layers:  # a running statistic of a trained normalisation
            continue
        assert np.array_equal(arrays[f"{name}/{STEPS}/weights/{key}"], arrays[f"{name}/0/weights/{key}"]), key
    start = {key: array for key, array in subset(arrays, f"{name}/0/weights").items() if key in trained}
    reference = OptimizerFormulas(TrainSettings(**options), start)
    for key, array in subset(arrays, f"{name}/0/state").items():
        initial = 1 if "tf" in name and "square" in key else 0
        assert key.startswith("ema/") or (array == initial).all(), key
    for step in range(STEPS):
        gradients = subset(arrays, f"{name}/{step}/gradient")
        before = {"weights": reference.weights.copy()}
        reference.step({key: gradients[key] for key in trained}, RATES[step])
        weights, state = (subset(arrays, f"{name}/{step + 1}/{kind}") for kind in ("weights", "state"))
        steps = state.pop("steps", None)
        assert steps is None or (steps.dtype == np.int64 and steps.shape == () and steps == step + 1)
        assert (steps is not None) == ("adam" in name or name == "warmup_ema")
        ema_state = {key: state.pop(f"ema/{key}") for key in trained if f"ema/{key}" in state}
        ema_weights = subset(arrays, f"{name}/{step}/ema")
        results = [
            ("weights", {key: weights[key] for key in trained}, reference.weights),
            ("state", state, reference.state),
        ]
        if reference.settings.ema_decay is None:
            assert not ema_weights and not ema_state
        else:
            results += [
                ("EMA in the state", ema_state, reference.ema),
                ("EMA weights", ema_weights, weights | reference.ema),
            ]
        for kind, values, expected in results:
            if expected:
                assert error(values, expected, before.get(kind)) < 1e-5, (step, kind)
            else:
                assert not values, (step, kind)


def test_the_loss_and_its_gradient(backend: str, record: Record) -> None:
    """Targets are labels and soft targets, with and without label smoothing."""
    arrays = record(backend)
    for name, options in SETTINGS.items():
        smoothing = options.get("label_smoothing", 0.0)
        if options.get("train_only") == "stem":
            continue
        for step in range(STEPS):
            targets = arrays["soft"][step] if "soft" in name else np.eye(5)[arrays["labels"][step]]
            targets = (1 - smoothing) * targets.astype(np.float64) + smoothing / 5
            logits = arrays[f"{name}/{step}/logits"].astype(np.float64)
            log_probabilities = logits - np.log(np.exp(logits).sum(1, keepdims=True))
            loss = -(targets * log_probabilities).sum(1).mean()
            assert arrays[f"{name}/{step}/loss"] == pytest.approx(loss, rel=1e-6), name
            gradient = (np.exp(log_probabilities) * targets.sum(1, keepdims=True) - targets).mean(0)
            assert np.abs(arrays[f"{name}/{step}/gradient/classifier.bias"] - gradient).max() < 1e-6, name


@pytest.mark.parametrize("name", ["nesterov", "clip_ema", "plain"])
def test_settings_differ_from_plain_momentum(backend: str, name: str, record: Record) -> None:
    """MindSpore's own Nesterov momentum is plain momentum on the CPU."""
    arrays = record(backend)
    weights, momentum = (subset(arrays, f"{key}/{STEPS}/weights") for key in (name, "momentum"))
    assert error(weights, momentum) > 1e-3


def test_a_trainer_resumes(backend: str, record: Record, require_backend: Require) -> None:
    """Resuming from the backend's own state is bit-identical; from torch's state it is close."""
    require_backend("torch")
    arrays, torch_arrays = record(backend), record("torch")
    for name in RESUMED:
        expected = subset(arrays, f"{name}/{STEPS}/weights") | subset(arrays, f"{name}/{STEPS}/state")
        resumed = subset(arrays, f"{name}/resumed")
        assert resumed.keys() == expected.keys()
        assert not [key for key in expected if not np.array_equal(resumed[key], expected[key])], name
        if backend != "torch":
            expected = subset(torch_arrays, f"{name}/{STEPS}/weights") | subset(torch_arrays, f"{name}/{STEPS}/state")
            assert error(subset(arrays, f"{name}/resumed from torch"), expected) < 1e-3, name


def test_the_number_of_steps_is_in_the_state(backend: str, record: Record) -> None:
    """If it were lost, Adam would correct the bias of its moments too much."""
    arrays = record(backend)
    expected = subset(arrays, f"adam_decay/{STEPS}/weights")
    resumed = subset(arrays, "adam_decay/resumed without steps")
    assert int(resumed["steps"]) == STEPS - STEPS_BEFORE_RESUME
    assert error({key: resumed[key] for key in expected}, expected) > 1e-3


@pytest.mark.slow
def test_rmsprop_of_tensorflow_equals_timm(run_program: Run, require_backend: Require) -> None:
    require_backend("torch")
    errors = run_program("torch", "optimizers:errors_of_timms_rmsprop")
    assert len(errors) == 3
    assert max(errors) <= 1
