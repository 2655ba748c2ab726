"""Program of parity_tests/speed.py: the times of this project's networks."""

from __future__ import annotations

import resource
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

from repro.benchmarks.measurement import in_turn, timed
from repro.interface import TrainSettings
from repro.interface.discovery import load_backend
from repro.interface.processes import process_group
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
    return milliseconds(tasks, rounds)


def compare_shards(backend: str, model: str, size: int, batch: int, rounds: int) -> dict[str, list[float]]:
    """Return the milliseconds of a training step without deterministic shards, and with 2, 4 and 8 of them."""
    images = np.random.default_rng(0).standard_normal((batch, 3, size, size), np.float32)
    package, spec = load_backend(backend), find_spec(model)

    def steps(shards: int | None) -> Callable[[], Any]:
        trainer = package.create_trainer(package.create_model(spec), TrainSettings(deterministic_shards=shards))
        return lambda: trainer.step(images, np.arange(batch), 1e-3)

    return milliseconds({"without": steps(None), "2": steps(2), "4": steps(4), "8": steps(8)}, rounds)


def compare_sync(backend: str, model: str, size: int, batch: int, rounds: int) -> tuple[int, dict[str, list[float]]]:
    """Return the number of normalisation layers, and the milliseconds of a step of all processes, of `batch` images
    each, without and with their statistics from all of them."""
    package, spec = load_backend(backend), find_spec(model)
    processes = process_group(backend).initialised(package)
    images = np.random.default_rng(processes.rank).standard_normal((batch, 3, size, size), np.float32)

    def steps(*, sync_norm: bool) -> Callable[[], Any]:
        settings = TrainSettings(world_size=processes.world_size, sync_norm=sync_norm)
        trainer = package.create_trainer(package.create_model(spec), settings)
        return lambda: trainer.step(images, np.arange(batch), 1e-3)

    layers = sum(name.endswith("running_mean") for name in spec.weights)
    return layers, milliseconds({"without": steps(sync_norm=False), "with": steps(sync_norm=True)}, rounds)


def milliseconds(tasks: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Return the milliseconds of each round of each task, which take turns."""
    times = in_turn({name: timed(task) for name, task in tasks.items()}, rounds)
    return {name: [1000 * seconds for seconds in values] for name, values in times.items()}


def step_time(backend: str, model: str, size: int, batch: int, steps: int) -> float:
    """Return the median of the milliseconds of a training step."""
    images = np.random.default_rng(0).standard_normal((batch, 3, size, size), np.float32)
    package = load_backend(backend)
    trainer = package.create_trainer(package.create_model(find_spec(model)), TrainSettings())
    return median(milliseconds({"step": lambda: trainer.step(images, np.arange(batch) % 10, 1e-3)}, steps)["step"])


def evaluation_memory(backend: str, model: str, size: int, batch: int, rounds: int) -> dict[str, float]:
    """Return the median of the milliseconds of an evaluation, its page faults, and the process's peak in MiB."""
    images = np.random.default_rng(0).standard_normal((batch, 3, size, size), np.float32)
    package = load_backend(backend)
    settings = TrainSettings(fused_evaluation=backend == "torch")
    trainer = package.create_trainer(package.create_model(find_spec(model)), settings)
    trainer.predict(images)
    task = timed(lambda: trainer.predict(images))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    times = [task() for _ in range(rounds)]
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "ms": 1000 * median(times),
        "faults": (usage.ru_minflt - before) / rounds,
        "MiB": usage.ru_maxrss / 1024,  # in KiB on Linux
    }
