"""The training step under every setting, held against the formulas of repro.interface.TrainSettings in NumPy's float64.

The gradients are the backend's own: a second trainer, of plain momentum, goes to the same weights with velocities of
zero, and its velocities after a step are the gradients. Those of the classifier's bias are known on paper.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from repro.arrays import Arrays
from repro.interface import TrainSettings
from repro.specs import STATISTICS, find_spec

SETTINGS: dict[str, dict] = {
    "plain": {"momentum": 0.0},
    "momentum": {"weight_decay": 0.1},
    "nesterov": {"weight_decay": 0.1, "nesterov": True},
    "adam": {"optimizer": "adam", "label_smoothing": 0.1},
    "adam_decay": {"optimizer": "adam", "weight_decay": 0.1, "betas": (0.8, 0.99), "eps": 1e-3},
    "adamw_soft": {"optimizer": "adamw", "weight_decay": 0.1},
    "rmsprop_soft": {"optimizer": "rmsprop", "momentum": 0.0, "weight_decay": 0.1, "label_smoothing": 0.1},
    "rmsprop_momentum": {"optimizer": "rmsprop", "alpha": 0.9, "eps": 1e-2},
    "rmsprop_tf": {"optimizer": "rmsprop_tf", "alpha": 0.9, "eps": 1e-2, "weight_decay": 0.1},
    "spared": {"weight_decay": 0.1, "spare_bias_and_norm": True},
    "spared_adam": {"optimizer": "adam", "weight_decay": 0.1, "spare_bias_and_norm": True},
    "spared_adamw": {"optimizer": "adamw", "weight_decay": 0.1, "spare_bias_and_norm": True},
    "spared_rmsprop_tf": {"optimizer": "rmsprop_tf", "momentum": 0.0, "weight_decay": 0.1, "spare_bias_and_norm": True},
    "clip_average": {"clip_norm": 0.5, "ema_decay": 0.8},
    "warm_average": {"ema_decay": 0.3, "ema_warmup": True},
    "head": {"train_only": "classifier", "weight_decay": 0.1, "ema_decay": 0.8},
}
# one for each kind of state
RESUMED = ("momentum", "adam_decay", "rmsprop_momentum", "rmsprop_tf", "clip_average", "warm_average", "head")
STEPS, SEEN = 5, 2  # steps, and how many were made where a trainer that has made others goes on
RATES = (0.02, 0.02, 0.01, 0.005, 0.01)
SPEC = find_spec("resnet110_cifar", num_classes=5)
TRAINED = [name for name, weight in SPEC.weights.items() if weight.kind not in STATISTICS]

RUN = """
import sys
from dataclasses import replace
import numpy as np
from backends.{backend} import create_model, create_trainer
from repro.errors import ReproError
from repro.interface import TrainSettings
from repro.specs import find_spec
from repro.weights.init import initialise

spec = find_spec("resnet110_cifar", num_classes=5)
spec = replace(spec, stages=(spec.stages[0][:1],))
rng = np.random.default_rng(0)
start = initialise(spec, 0)
images = rng.standard_normal(({steps}, 8, 3, 12, 12)).astype(np.float32)
labels = rng.integers(0, 5, ({steps}, 8))
soft = rng.random(({steps}, 8, 5)).astype(np.float32)  # rows that do not sum up to 1
rates, settings, seen = {rates}, {settings}, {seen}
theirs = np.load("{theirs}") if "{theirs}" else None
out = {{"labels": labels, "soft": soft}}

def trainer(**options):
    made = create_trainer(create_model(spec), TrainSettings(**options))
    made.load_weights(start)
    return made

def keep(prefix, arrays):
    out.update({{prefix + "/" + name: array for name, array in arrays.items()}})

def kept(arrays, prefix):
    return {{name[len(prefix) + 1:]: arrays[name] for name in arrays if name.startswith(prefix + "/")}}

def go_on(arrays, prefix):
    subject.load_weights(kept(arrays, f"{{name}}/{{seen}}/weights"))
    subject.load_state(kept(arrays, f"{{name}}/{{seen}}/state"))
    for step in range(seen, {steps}):
        subject.step(images[step], targets[step], rates[step])
    keep(f"{{name}}/{{prefix}}", subject.weights() | subject.state())

probes = {{smoothing: trainer(label_smoothing=smoothing) for smoothing in (0.0, 0.1)}}
for name, options in settings.items():
    subject, probe = trainer(**options), probes[options.get("label_smoothing", 0.0)]
    targets = soft if "soft" in name else labels
    for step in range({steps}):
        keep(f"{{name}}/{{step}}/weights", subject.weights())
        keep(f"{{name}}/{{step}}/state", subject.state())
        probe.load_weights(subject.weights())
        probe.load_state({{}})
        probe.step(images[step], targets[step], 0.0)
        keep(f"{{name}}/{{step}}/gradient", {{key[9:]: array for key, array in probe.state().items()}})
        loss, logits = subject.step(images[step], targets[step], rates[step])
        out[f"{{name}}/{{step}}/loss"], out[f"{{name}}/{{step}}/logits"] = np.float64(loss), logits
        keep(f"{{name}}/{{step}}/averages", subject.ema_weights())
    keep(f"{{name}}/{steps}/weights", subject.weights())
    keep(f"{{name}}/{steps}/state", subject.state())
    if name in {resumed}:
        subject.step(images[0], targets[0], 1.0)  # what a trainer did before does not matter
        go_on(out, "resumed")
        if theirs is not None:
            go_on(theirs, "from torch")
        if "steps" in subject.state():
            go_on(dict(out) | {{f"{{name}}/{{seen}}/state/steps": np.array(0)}}, "without steps")
        before = subject.weights() | subject.state()
        for broken in ({{"velocity/nothing": np.zeros(1)}}, dict(list(before.items())[-1:])):
            try:
                subject.load_state(broken)
            except ReproError:
                pass
            else:
                raise AssertionError(broken)
        after = subject.weights() | subject.state()
        assert all(np.array_equal(before[key], after[key]) for key in before | after)
        averages = subject.ema_weights()
        subject.load_weights(start)
        again = subject.ema_weights()
        assert again.keys() == averages.keys() and all(np.array_equal(again[key], start[key]) for key in again)
# a second trainer of the same model has a state of its own
model = create_model(spec)
for lr in (0.1, 0.2):
    second = create_trainer(model, TrainSettings(compiled=False))
    second.load_weights(start)
    second.step(images[0], labels[0], lr)
assert np.array_equal(second.state()["velocity/stem.conv.weight"], out["momentum/0/gradient/stem.conv.weight"])
np.savez({path!r}, **out)
"""
Record = Callable[[str], Arrays]


def part(arrays: Arrays, prefix: str) -> Arrays:
    return {name[len(prefix) + 1 :]: array for name, array in arrays.items() if name.startswith(prefix + "/")}


@pytest.fixture(scope="session")  # a module is left and entered again for each backend
def record(
    run_in: Callable[[str, str], str], require_backend: Callable[[str], None], has_backend: Callable[[str], bool],
    tmp_path_factory: pytest.TempPathFactory,
) -> Record:  # fmt: skip
    """All that RUN left behind, by backend. One process for each; torch's comes first where it is installed."""
    folder: Path = tmp_path_factory.mktemp("optimizers")
    records: dict[str, Arrays] = {}

    def run(name: str) -> Arrays:
        if name not in records:
            require_backend(name)
            if name != "torch" and has_backend("torch"):
                run("torch")
            theirs = str(folder / "torch.npz") if "torch" in records else ""
            path = str(folder / f"{name}.npz")
            run_in(name, RUN.format(
                backend=name, steps=STEPS, rates=RATES, settings=SETTINGS, seen=SEEN, resumed=RESUMED, theirs=theirs,
                path=path,
            ))  # fmt: skip
            with np.load(path) as file:
                records[name] = dict(file)
        return records[name]

    return run


class Reference:
    """The definitions, for one weight after the other, in float64."""

    def __init__(self, settings: TrainSettings, weights: Arrays):
        self.s, self.number = settings, 0
        self.weights = {name: array.astype(np.float64) for name, array in weights.items()}
        self.average = dict(self.weights)
        self.state = {f"{slot}/{name}": np.zeros_like(w) for slot in settings.slots for name, w in self.weights.items()}
        if settings.optimizer == "rmsprop_tf":
            self.state |= {f"square/{name}": np.ones_like(w) for name, w in self.weights.items()}

    def step(self, gradients: Arrays, lr: float) -> None:
        s = self.s
        self.number += 1
        gradients = {name: g.astype(np.float64) for name, g in gradients.items()}
        if s.clip_norm is not None:
            norm = np.sqrt(sum((g**2).sum() for g in gradients.values()))
            gradients = {name: g * min(1, s.clip_norm / (norm + 1e-6)) for name, g in gradients.items()}
        for name, g in gradients.items():
            w = self.weights[name]
            decay = 0 if s.spare_bias_and_norm and w.ndim == 1 else s.weight_decay
            if s.optimizer == "adamw":
                w = w - lr * decay * w
            else:
                g = g + decay * w  # noqa: PLW2901
            self.weights[name] = w - (
                self.tensorflow(name, lr * g, g) if "tf" in s.optimizer else lr * self.direction(name, g)
            )
            if s.ema_decay is not None:
                kept = min(s.ema_decay, self.number / (9 + self.number)) if s.ema_warmup else s.ema_decay
                self.average[name] = kept * self.average[name] + (1 - kept) * self.weights[name]

    def direction(self, name: str, g: np.ndarray) -> np.ndarray:
        s = self.s
        if s.optimizer in ("adam", "adamw"):
            m = self.mix("moment1", name, s.betas[0], g) / (1 - s.betas[0] ** self.number)
            v = self.mix("moment2", name, s.betas[1], g**2) / (1 - s.betas[1] ** self.number)
            return m / (np.sqrt(v) + s.eps)
        if s.optimizer == "rmsprop":
            g = g / (np.sqrt(self.mix("square", name, s.alpha, g**2)) + s.eps)
        if not s.momentum:
            return g
        velocity = self.state[f"velocity/{name}"] = s.momentum * self.state[f"velocity/{name}"] + g
        return g + s.momentum * velocity if s.nesterov else velocity

    def tensorflow(self, name: str, step: np.ndarray, g: np.ndarray) -> np.ndarray:
        change = step / np.sqrt(self.mix("square", name, self.s.alpha, g**2) + self.s.eps)
        if not self.s.momentum:
            return change
        velocity = self.state[f"velocity/{name}"] = self.s.momentum * self.state[f"velocity/{name}"] + change
        return velocity

    def mix(self, slot: str, name: str, kept: float, new: np.ndarray) -> np.ndarray:
        mixed = self.state[f"{slot}/{name}"] = kept * self.state[f"{slot}/{name}"] + (1 - kept) * new
        return mixed


def error(found: Arrays, expected: Arrays) -> float:
    """The largest difference, in parts of the largest value of its array or of a thousandth."""
    assert found.keys() == expected.keys()
    return max(np.abs(found[name] - e).max() / max(1e-3, np.abs(e).max()) for name, e in expected.items())


def test_each_update_is_its_formula(backend: str, record: Record) -> None:
    arrays = record(backend)
    everything = part(arrays, "momentum/0/gradient").keys()
    for name, options in SETTINGS.items():
        trained = [key for key in everything if key.startswith(options.get("train_only", ""))]
        for key in everything - set(trained):
            assert np.array_equal(arrays[f"{name}/{STEPS}/weights/{key}"], arrays[f"{name}/0/weights/{key}"]), key
        start = {key: array for key, array in part(arrays, f"{name}/0/weights").items() if key in trained}
        reference = Reference(TrainSettings(**options), start)
        fresh = part(arrays, f"{name}/0/state")
        assert not [
            key for key in fresh if (fresh[key] != ("tf" in name and "square" in key)).any() and key[:4] != "ema/"
        ]
        for step in range(STEPS):
            gradients = part(arrays, f"{name}/{step}/gradient")
            reference.step({key: gradients[key] for key in trained}, RATES[step])
            weights, state = (part(arrays, f"{name}/{step + 1}/{kind}") for kind in ("weights", "state"))
            steps = state.pop("steps", None)
            assert steps is None or (steps.dtype == np.int64 and steps.shape == () and steps == step + 1)
            assert (steps is not None) == ("adam" in name or name == "warm_average")
            averages = part(arrays, f"{name}/{step}/averages")
            ema = {key: state.pop(f"ema/{key}") for key in trained if f"ema/{key}" in state}
            results = [
                ("weights", {key: weights[key] for key in trained}, reference.weights),
                ("state", state, reference.state),
            ]
            if reference.s.ema_decay is None:
                assert not averages and not ema
            else:
                results += [("ema", ema, reference.average)]
                results += [("averages", averages, weights | reference.average)]
            for kind, found, expected in results:
                if expected:
                    worst = error(found, expected)
                    print(name, step, kind, worst)
                    assert worst < 1e-5, (name, step, kind)


def test_the_loss_and_its_gradient(backend: str, record: Record) -> None:
    """Of labels and of soft targets, smoothed or not."""
    arrays = record(backend)
    for name, options in SETTINGS.items():
        smoothing = options.get("label_smoothing", 0.0)
        for step in range(STEPS):
            targets = arrays["soft"][step] if "soft" in name else np.eye(5)[arrays["labels"][step]]
            targets = (1 - smoothing) * targets.astype(np.float64) + smoothing / 5
            logits = arrays[f"{name}/{step}/logits"].astype(np.float64)
            logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
            assert arrays[f"{name}/{step}/loss"] == pytest.approx(-(targets * logs).sum(1).mean(), rel=1e-6), name
            gradient = (np.exp(logs) * targets.sum(1, keepdims=True) - targets).mean(0)
            assert np.abs(arrays[f"{name}/{step}/gradient/classifier.bias"] - gradient).max() < 1e-6, name


def test_the_settings_matter(backend: str, record: Record) -> None:
    """In MindSpore, Nesterov's momentum is the plain one on the CPU unless it is written out."""
    arrays = record(backend)
    ends = {name: part(arrays, f"{name}/{STEPS}/weights") for name in SETTINGS}
    for one, other in (("nesterov", "momentum"), ("clip_average", "momentum"), ("plain", "momentum")):
        assert error(ends[one], ends[other]) > 1e-3, (one, other)


def test_a_trainer_goes_on(backend: str, record: Record, require_backend: Callable[[str], None]) -> None:
    """From its own state to the same bits, and from torch's to nearly the same."""
    require_backend("torch")
    arrays, torch = record(backend), record("torch")
    for name in RESUMED:
        expected = part(arrays, f"{name}/{STEPS}/weights") | part(arrays, f"{name}/{STEPS}/state")
        found = part(arrays, f"{name}/resumed")
        assert found.keys() == expected.keys()
        assert not [key for key in expected if not np.array_equal(found[key], expected[key])], name
        if backend != "torch":
            expected = part(torch, f"{name}/{STEPS}/weights") | part(torch, f"{name}/{STEPS}/state")
            assert error(part(arrays, f"{name}/from torch"), expected) < 1e-3, name


def test_the_number_of_steps_is_part_of_the_state(backend: str, record: Record) -> None:
    """With Adam, which takes its averages for older than they are where it is lost."""
    arrays = record(backend)
    expected = part(arrays, f"adam_decay/{STEPS}/weights")
    lost = part(arrays, "adam_decay/without steps")
    assert int(lost["steps"]) == STEPS - SEEN
    assert error({key: lost[key] for key in expected}, expected) > 1e-3


def test_tensorflows_rmsprop_is_timms(
    run_in: Callable[[str, str], str], require_backend: Callable[[str], None]
) -> None:
    require_backend("torch")
    run_in("torch", """
import torch
from timm.optim import RMSpropTF
from backends.torch.optimizers import create_optimizer
from repro.interface import TrainSettings
settings = TrainSettings(optimizer="rmsprop_tf", alpha=0.9, eps=1e-3, momentum=0.9, weight_decay=0.1)
torch.manual_seed(0)
ours = torch.nn.Parameter(torch.randn(5, 3))
theirs = torch.nn.Parameter(ours.detach().clone())
optimizers = [
    create_optimizer([ours], settings),
    RMSpropTF([theirs], lr=0.0, alpha=0.9, eps=1e-3, momentum=0.9, weight_decay=0.1),
]
for lr in (0.1, 0.05, 0.2):
    gradient = torch.randn(5, 3)
    for parameter, optimizer in zip((ours, theirs), optimizers):
        parameter.grad, optimizer.param_groups[0]["lr"] = gradient.clone(), lr
        optimizer.step()
    assert torch.allclose(ours, theirs, 1e-6, 1e-6)
""")  # fmt: skip
