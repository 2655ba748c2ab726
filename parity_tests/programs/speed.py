"""Program of parity_tests/speed.py: the times of this project's networks and of the framework's own zoo, in turn."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from repro.interface import TrainSettings
from repro.interface.discovery import load_backend
from repro.specs import find_spec


class Peer(NamedTuple):
    """A network in the plain loop of its framework's users. predict: of images; step: one of images and labels."""

    predict: Callable[[], Any]
    step: Callable[[], Any]


def compare_with_zoo(
    backend: str, model: str, peer: str, size: int, batch: int, rounds: int
) -> dict[str, dict[str, list[float]]]:
    """Return the milliseconds of each round in evaluation and in training, by whose network computes.

    The networks take turns, and a first round does not count. peer: the zoo's name of the network.
    """
    images = np.random.default_rng(0).standard_normal((batch, 3, size, size), np.float32)
    labels = np.arange(batch)
    package = load_backend(backend)
    trainer = package.create_trainer(package.create_model(find_spec(model)), TrainSettings(fused_evaluation=True))
    peers = {"ours": Peer(lambda: trainer.predict(images), lambda: trainer.step(images, labels, 1e-3))}
    peers |= {"torch": _torch_peers, "paddle": _paddle_peers, "mindspore": _mindspore_peers}[backend](
        peer, images, labels
    )
    times: dict[str, dict[str, list[float]]] = {
        task: {name: [] for name in peers} for task in ("evaluation", "training")
    }
    for task, attribute in (("evaluation", "predict"), ("training", "step")):
        for number in range(rounds + 1):
            for name, network in peers.items():
                seconds = _seconds(getattr(network, attribute))
                times[task][name] += [1000 * seconds] if number else []
    return times


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


def _torch_peers(name: str, images: np.ndarray, labels: np.ndarray) -> dict[str, Peer]:
    import timm
    import torch
    import torchvision

    targets = torch.as_tensor(labels)

    def peer(memory_format: torch.memory_format) -> Peer:
        module = torchvision.models if hasattr(torchvision.models, name) else None
        network = getattr(module, name)() if module else timm.create_model(name)
        network = network.to(memory_format=memory_format)
        x = torch.as_tensor(images).contiguous(memory_format=memory_format)
        optimizer = torch.optim.SGD(network.parameters(), 1e-3, momentum=0.9)

        def predict() -> None:
            network.eval()
            with torch.inference_mode():
                network(x)

        def step() -> None:
            network.train()
            torch.nn.functional.cross_entropy(network(x), targets).backward()
            optimizer.step()
            optimizer.zero_grad()

        return Peer(predict, step)

    return {"zoo": peer(torch.contiguous_format), "zoo, channels_last": peer(torch.channels_last)}


def _paddle_peers(name: str, images: np.ndarray, labels: np.ndarray) -> dict[str, Peer]:
    import paddle

    network = getattr(paddle.vision.models, name)()
    x, targets = paddle.to_tensor(images), paddle.to_tensor(labels)
    optimizer = paddle.optimizer.Momentum(1e-3, parameters=network.parameters())

    def predict() -> None:
        network.eval()
        with paddle.no_grad():
            network(x).numpy()

    def step() -> None:
        network.train()
        loss = paddle.nn.functional.cross_entropy(network(x), targets)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()

    return {"zoo": Peer(predict, step)}


def _mindspore_peers(name: str, images: np.ndarray, labels: np.ndarray) -> dict[str, Peer]:
    import mindcv
    import mindspore
    from mindspore import Tensor, nn

    from backends.mindspore.model import execution_mode

    network = mindcv.create_model(name)
    x, targets = Tensor(images), Tensor(labels.astype(np.int32))
    optimizer = nn.Momentum(network.trainable_params(), 1e-3, 0.9)
    training = nn.TrainOneStepCell(nn.WithLossCell(network, nn.CrossEntropyLoss()), optimizer)

    def predict() -> None:
        with execution_mode(mindspore.GRAPH_MODE):
            network.set_train(False)
            network(x).asnumpy()

    def step() -> None:
        with execution_mode(mindspore.GRAPH_MODE):
            training.set_train(True)
            training(x, targets).asnumpy()

    return {"zoo": Peer(predict, step)}
