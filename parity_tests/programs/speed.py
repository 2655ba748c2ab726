"""Program of parity_tests/speed.py: the times of this project's networks."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

from repro.interface import TrainSettings
from repro.interface.discovery import load_backend
from repro.specs import find_spec


def compare_frozen(backend: str, model: str, size: int, batch: int, rounds: int) -> dict[str, list[float]]:
    """Return the milliseconds of a forward pass, and of steps that train the classifier or all weights."""
    images = np.random.default_rng(0).standard_normal((batch, 3, size, size), np.float32)
    labels = np.arange(batch)
    package = load_backend(backend)
    spec = find_spec(model)
    frozen, whole = (
        package.create_trainer(package.create_model(spec), TrainSettings(train_only=prefix, fused_evaluation=False))
        for prefix in (spec.classifier.rpartition(".")[0], "")
    )
    tasks: dict[str, Callable[[], Any]] = {
        "forward pass": lambda: frozen.predict(images),
        "step of the classifier": lambda: frozen.step(images, labels, 1e-3),
        "step of all weights": lambda: whole.step(images, labels, 1e-3),
    }
    times: dict[str, list[float]] = {task: [] for task in tasks}
    for number in range(rounds + 1):
        for task, function in tasks.items():
            seconds = _seconds(function)
            times[task] += [1000 * seconds] if number else []
    return times


def step_time(backend: str, model: str, size: int, batch: int, steps: int) -> float:
    """Return the median of the milliseconds of a training step."""
    images = np.random.default_rng(0).standard_normal((batch, 3, size, size), np.float32)
    package = load_backend(backend)
    trainer = package.create_trainer(package.create_model(find_spec(model)), TrainSettings())
    times = [_seconds(lambda: trainer.step(images, np.arange(batch) % 10, 1e-3)) for _ in range(steps + 1)]
    return 1000 * median(times[1:])


def evaluation_memory(backend: str, model: str, size: int, batch: int, rounds: int) -> dict[str, float]:
    """Return the median of the milliseconds of an evaluation, its page faults, and the process's peak in MiB."""
    images = np.random.default_rng(0).standard_normal((batch, 3, size, size), np.float32)
    package = load_backend(backend)
    settings = TrainSettings(fused_evaluation=backend == "torch")
    trainer = package.create_trainer(package.create_model(find_spec(model)), settings)
    trainer.predict(images)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    times = [_seconds(lambda: trainer.predict(images)) for _ in range(rounds)]
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "ms": 1000 * median(times),
        "faults": (usage.ru_minflt - before) / rounds,
        "MiB": usage.ru_maxrss / 1024,  # in KiB on Linux
    }


def _seconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
