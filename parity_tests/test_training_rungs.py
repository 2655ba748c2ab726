"""Rungs 2, 3, 4 and 6: sound backends agree in training, and planted faults are found and named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from repro import discovery
from repro.parity.ladder import climb
from repro.parity.spread import FLOOR, SPREAD, nudged, tolerances
from repro.specs import CATALOGUE, find_spec
from repro.workers import Worker

# the smallest of each family; `repro.parity --models all --rungs 2,3,4,6` has the rest
SMALLEST = {
    family: min((find_spec(name).macs, name) for name in CATALOGUE if find_spec(name).family == family)[1]
    for family in {find_spec(name).family for name in CATALOGUE}
}
HEAVY = {"vgg", "resnet_v2"}  # minutes each


@pytest.mark.parametrize("family", sorted(set(SMALLEST) - HEAVY))
def test_sound_backends_agree(family: str, judged_workers: dict[str, Worker]) -> None:
    workers = judged_workers
    rungs = [2, 3, 4, 6] if family == "asymmnet" else [2, 4]
    records = list(climb(SMALLEST[family], rungs, workers))
    assert [(record.rung, record.backend) for record in records] == [(r, name) for r in rungs for name in workers]
    assert [record for record in records if record.verdict == "diverges"] == []
    assert all(record.max_error for record in records)  # float32 is never equal to float64 by itself


FAULTS = {
    # rung, what is said of where it is, what a faulty backend does to the model of backends.torch
    "biased variance": (2, "statistics/stem.norm.running_var", "biased(norm('stem'))"),
    "momentum of the norm": (2, "statistics/stages.2.0.depthwise.norm", "norm('stages.2.0.depthwise').momentum = 0.11"),
    "statistics are not kept": (2, "statistics/last.norm.running_", "norm('last').track_running_stats = False"),
    "running statistics": (2, "statistics/stages.1.1.depthwise.norm", "frozen(norm('stages.1.1.depthwise'))"),
    # the statistics are those of what comes in: the first that are wrong are the next ones
    "eps": (2, "statistics/stages.1.1.depthwise.norm", "norm('stages.1.1.expand').eps = 2e-3"),
    "drops in training": (2, "hidden", "after(model.hidden, lambda m, y: F.dropout(y, 0.2, m.training))"),
    # gradients come from behind: the last that is wrong is just ahead of the fault
    "a detached input": (4, "stages.1.0.project.norm.bias", "detached(model.stages[1][1])"),
    "a gradient twice": (4, "classifier.bias", "gradient('classifier.bias', lambda g: 2 * g)"),
    "one gradient is not a number": (4, "hidden.weight", "gradient('hidden.weight', nan)"),
    "one element of a gradient": (4, "last.conv.weight", "gradient('last.conv.weight', one)"),
    "a permuted gradient": (4, "stages.1.0.depthwise.conv.weight",
                            "gradient('stages.1.0.depthwise.conv.weight', lambda g: g.flip(0))"),
    "a frozen weight": (6, "loss of step 2", "gradient('stages.2.0.expand.conv.weight', lambda g: 0 * g)"),
}  # fmt: skip
TRAINERS = {
    "smoothing": (3, "loss of smoothed labels",
                  "settings = replace(settings, label_smoothing=settings.label_smoothing / 2)"),
    "sum for mean": (3, "loss of labels", "F_cross_entropy(lambda *a, **k: plain(*a, **{**k, 'reduction': 'sum'}))"),
    "momentum": (6, "loss of step 3", "settings = replace(settings, momentum=settings.momentum * 0.9)"),
    "decay": (6, "loss of step 2", "settings = replace(settings, weight_decay=settings.weight_decay * 2)"),
    "decay spares beta and gamma": (6, "loss of step 2", "spare = True"),
    "rate of the step before": (6, "loss of step 2", "late = True"),
}  # fmt: skip
FAULTY = """
import torch
from dataclasses import replace
from torch.nn import functional as F
import backends.torch.trainer as trainers
from backends import torch as whole
from backends.torch import create_model, export_weights, forward, operators, to_float64, version
plain = F.cross_entropy

def load_weights(model, arrays):
    whole.load_weights(model, arrays)
    if hasattr(model, "spoilt"):
        return
    model.spoilt = True
    norm = lambda name: model.get_submodule(name + ".norm")
    def biased(layer):
        def keep(m, a, y):
            if m.training:
                n = a[0].numel() / a[0].shape[1]
                m.running_var += m.momentum * a[0].var((0, 2, 3), unbiased=False) * (1 - n / (n - 1))
        layer.register_forward_hook(keep)
    def frozen(layer):
        layer.eval()
        layer.train = lambda mode=True: layer
    def after(layer, change):
        layer.register_forward_hook(lambda m, a, y: change(m, y))
    def detached(layer):
        layer.register_forward_pre_hook(lambda m, a: (a[0].detach(),))
    def gradient(name, change):
        model.get_parameter(name).register_hook(change)
    def nan(g):
        g = g.clone(); g.view(-1)[0] = float("nan"); return g
    def one(g):
        g = g.clone(); g.view(-1)[3] += 0.1 * g.abs().max(); return g
    {model}

class F_cross_entropy:
    def __init__(self, function):
        trainers.F = self
        self.cross_entropy = function
    def __getattr__(self, name):
        return getattr(F, name)

def create_trainer(model, settings):
    spare = late = False
    {trainer}
    made = whole.create_trainer(model, settings)
    if spare:
        groups = [[p for p in model.parameters() if (p.ndim > 1) == big] for big in (True, False)]
        made.optimizer = torch.optim.SGD([dict(params=groups[0], weight_decay=settings.weight_decay),
                                          dict(params=groups[1], weight_decay=0)], lr=0, momentum=settings.momentum)
    if late:
        step, last = made.step, [0.0]
        def delayed(images, targets, lr):
            rate, last[0] = last[0], lr
            return step(images, targets, rate)
        made.step = delayed
    return made
"""


@pytest.mark.parametrize("fault", [*FAULTS, *TRAINERS])
def test_planted_fault_is_found_and_named(
    fault: str, workers: dict[str, Worker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    require_backend: Callable[[str], None],
) -> None:  # fmt: skip
    require_backend("torch")
    rung, place, code = (FAULTS | TRAINERS)[fault]
    model, trainer = (code, "pass") if fault in FAULTS else ("pass", code)
    (tmp_path / "faulty.py").write_text(FAULTY.format(model=model, trainer=trainer))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setitem(discovery.SHIPPED, "faulty", "faulty")
    with Worker("faulty") as faulty:
        records = list(climb("asymmnet_small_x0_5", [rung], {"torch": workers["torch"], "faulty": faulty}))
    found = {record.backend: record for record in records}
    assert found["torch"].verdict != "diverges", found["torch"]
    assert found["faulty"].verdict == "diverges", found["faulty"]
    assert found["faulty"].where.startswith(place), found["faulty"]


def test_tolerance_grows_with_what_float32_loses() -> None:
    exact = {"a": np.array([1.0, 2.0]), "b": np.array([0.0, 0.0]), "c": np.array([1.0, 1.0])}
    runs = [
        {"a": np.array([1.0, 2.0 + error], "float32"), "b": np.array([error, 0], "float32"), "c": np.ones(2, "float32")}
        for error in (1e-3, 3e-3)
    ]
    found = tolerances(runs, exact)
    assert found["a"] == pytest.approx(SPREAD * 3e-3, rel=1e-3)
    assert found["b"] == pytest.approx(SPREAD * 3e-3, rel=1e-3)
    assert found["c"] == pytest.approx(FLOOR)
    runs[0]["a"] = np.array([np.nan, 2], "float32")
    assert tolerances(runs, exact)["a"] == 0  # the reference itself is broken: nothing counts as rounding


def test_nudged_images_differ_in_their_last_bits() -> None:
    images = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype("float32")
    other = nudged(images, 1)
    assert other.dtype == np.float32
    assert (other != images).all()
    assert np.abs(other - images).max() <= np.spacing(np.abs(images).max())
    assert not np.array_equal(other, nudged(images, 2))
