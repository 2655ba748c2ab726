"""Evaluation and a training step of our networks, compared with a plain loop and with the framework's zoo."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from repro.benchmarks.measurement import OURS, SpeedComparison, in_turn, timed
from repro.benchmarks.process import in_process
from repro.errors import ReproError, first_line
from repro.interface import TrainSettings
from repro.interface.discovery import load_backend
from repro.interface.peers import load_peers, missing_peer
from repro.specs import find_spec

if TYPE_CHECKING:
    from repro.interface import Backend

CLASSES = 1000
PLAIN = "ours, plain loop"
STEADY = 3 << 19  # pixels of each channel after which every backend evaluates as it does for a whole data set


def measure_steps(
    backend: str,
    models: Sequence[str] | None,
    *,
    image_size: int,
    batch_size: int,
    rounds: int,
    device: str,
    precision: str,
) -> Iterator[SpeedComparison]:
    """Yield the milliseconds of evaluation and of a training step (SGD with momentum) of each network.

    The peers are our network in the plain loop of the framework's users, and the zoo's, if it has the network. models:
    variants; None for all that the zoo has, too. image_size: height and width in pixels.
    Raises ReproError for an unknown model, a zoo that is not installed, and what the framework cannot compute.
    """
    variants = models or list(load_peers(backend).ZOO)
    for model in variants:
        find_spec(model)  # before anything is measured
    for model in variants:
        sizes = (image_size, batch_size, rounds, device, precision)
        seconds = in_process(backend, "repro.benchmarks.step:compare_steps", backend, model, *sizes)
        for task, values in seconds.items():
            milliseconds = {name: [1000 * value for value in rounds] for name, rounds in values.items()}
            yield SpeedComparison(f"{model}, {task}", "ms", milliseconds)


def compare_steps(
    backend: str, model: str, image_size: int, batch_size: int, rounds: int, device: str, precision: str
) -> dict[str, dict[str, list[float]]]:
    """Return task -> "ours" or a name of the peer -> seconds of each round. Call it in a process of its own."""
    images = np.random.default_rng(0).standard_normal((batch_size, 3, image_size, image_size), np.float32)
    labels = np.arange(batch_size) % CLASSES
    package = load_backend(backend)
    use_device(package, backend, device)
    trainer = package.create_trainer(package.create_model(find_spec(model)), TrainSettings(precision=precision))
    peers = load_peers(backend)
    try:
        x, y = peers.tensors(images, labels)
        networks = {PLAIN: peers.plain_loop(package.create_model(find_spec(model)), precision=precision)}
        if model in peers.ZOO:
            networks |= peers.zoo_networks(peers.ZOO[model], classes=CLASSES, precision=precision)
    except ImportError as error:
        raise missing_peer(backend, error) from error
    evaluation: dict[str, Callable[[], object]] = {OURS: lambda: trainer.predict(images)}
    training: dict[str, Callable[[], object]] = {OURS: lambda: trainer.step(images, labels, 1e-3)}
    for name, network in networks.items():
        evaluation[name] = lambda network=network: network.predict(x)  # type: ignore[misc]
        training[name] = lambda network=network: network.step(x, y)  # type: ignore[misc]
    # Paddle makes a graph after a million pixels; small images are not worth the wait
    warm_up = min(1 + STEADY // (batch_size * image_size**2), 8)
    return {
        task: in_turn({name: timed(function) for name, function in functions.items()}, rounds, warm_up=first)
        for task, functions, first in (("evaluation", evaluation, warm_up), ("training step", training, 1))
    }


def use_device(package: Backend, backend: str, device: str) -> None:
    """Let a backend compute on a device, a GPU in full float32 precision. Raises ReproError where there is none."""
    os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")  # read when the GPU is initialised; it holds for the peers, too
    try:
        package.use_device(device)
    except Exception as error:  # whatever a framework raises
        raise ReproError(
            f"{backend} cannot compute on the {device} ({first_line(error)}); leave --device out, or choose another "
            "backend"
        ) from error
