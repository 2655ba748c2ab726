"""The training loop of the command repro.run, compared with a bare loop as the framework's users write it."""

from __future__ import annotations

import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from repro.benchmarks.measurement import OURS, SpeedComparison
from repro.benchmarks.process import in_process
from repro.interface.discovery import load_backend
from repro.interface.launch import launch_command
from repro.interface.peers import load_peers, missing_peer, peer_name
from repro.workers.client import interpreter
from repro.workers.command import run

WARM_UP, STEPS = 2, 10  # steps of each run: first those that are not counted, then those that are
CLASSES = 10
SIZE = (500, 375)  # width and height of a typical image of ImageNet, in pixels
PEER = "bare loop"
SCRIPT = "from repro.benchmarks.observed_run import main\n\nif __name__ == '__main__':\n    main()\n"


def measure_loop(
    backend: str, model: str, *, processes: int, image_size: int, batch_size: int, rounds: int
) -> Iterator[SpeedComparison]:
    """Yield the milliseconds per step that each loop waits for data and computes, and with several ranks those of each.

    Both loops train in turn on the same made-up photographs, which they load in the training process. batch_size:
    images of all processes together; the bare loop has one process. With several ranks, the number of images that each
    rank decodes is yielded, too. Raises ReproError for a model without a peer, and if a loop fails.
    """
    peer = peer_name(backend, model)
    ranks: dict[str, dict[str, list[float]]] = {part: defaultdict(list) for part in ("data", "step", "decoded")}
    bare: dict[str, list[float]] = {"data": [], "step": []}
    with tempfile.TemporaryDirectory(prefix="repro-bench-") as name:
        folder = Path(name)
        draw_images(folder / "images", (WARM_UP + STEPS) * batch_size)
        flags = [
            "--backend", backend, "--model", model, "--data", str(folder / "images"), "--image-size", str(image_size),
            "--batch-size", str(batch_size), "--epochs", "1", "--resize", "crop", "--flip", "0.5", "--check",
            "first-epoch", "--lr", "0.001",
        ]  # fmt: skip
        for number in range(rounds):
            for rank, times in enumerate(observe(backend, flags, WARM_UP + STEPS, processes, folder / f"{number}")):
                for part in ("data", "step"):
                    ranks[part][f"rank {rank}"] += times[part][WARM_UP:]
                ranks["decoded"][f"rank {rank}"].append(times["decoded"])
            arguments = (backend, peer, str(folder / "images" / "train"), image_size, batch_size)
            for part, seconds in in_process(backend, "repro.benchmarks.loop:bare_loop", *arguments).items():
                bare[part] += seconds
    ours = {part: ranks[part]["rank 0"] for part in bare}
    both = ({part: np.array(values) for part, values in loop.items()} for loop in (ours, bare))
    ours["data + step"], bare["data + step"] = ((loop["data"] + loop["step"]).tolist() for loop in both)
    for part in ("data", "step", "data + step"):
        values = {OURS: ours[part], PEER: bare[part]}
        yield SpeedComparison(f"{model}, {part}", "ms", milliseconds(values))
    if processes > 1:
        for part in ("data", "step"):
            yield SpeedComparison(f"{model}, {part} of {processes} processes", "ms", milliseconds(ranks[part]), None)
        total = (WARM_UP + STEPS) * batch_size
        yield SpeedComparison(f"{model}, decoded of {total}", "images", ranks["decoded"], None)


def milliseconds(seconds: dict[str, list[float]]) -> dict[str, list[float]]:
    """Return times in milliseconds."""
    return {name: [1000 * value for value in values] for name, values in seconds.items()}


def observe(backend: str, flags: Sequence[str], steps: int, processes: int, folder: Path) -> list[dict[str, Any]]:
    """Run the command repro.run until it has made some steps, and return what each rank observed.

    The keys are those of Observer.finish. folder: a new folder for everything that the command writes.
    """
    folder.mkdir()
    script = folder / "observed.py"
    script.write_text(SCRIPT)
    launcher = launch_command(backend, processes, folder / "logs") if processes > 1 else []
    command = [interpreter(backend), *launcher, str(script), str(folder / "rank"), str(steps), *flags]
    run([*command, "--out", str(folder / "run")], backend, folder)
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(processes)]


def bare_loop(backend: str, peer: str, folder: str, image_size: int, batch_size: int) -> dict[str, list[float]]:
    """Return the seconds of each step of the zoo's network on the framework's loader. Call it in its own process."""
    load_backend(backend)  # sets threads and memory as for our own loop
    peers = load_peers(backend)
    times: dict[str, list[float]] = {"data": [], "step": []}
    try:
        network = next(iter(peers.zoo_networks(peer, classes=CLASSES, precision="float32").values()))
        batches = peers.batches(Path(folder), image_size=image_size, batch_size=batch_size, workers=0)
    except ImportError as error:
        raise missing_peer(backend, error) from error
    start = time.perf_counter()
    for images, labels in islice(batches, WARM_UP + STEPS):
        loaded = time.perf_counter()
        network.step(images, labels)
        end = time.perf_counter()
        times["data"].append(loaded - start)
        times["step"].append(end - loaded)
        start = end
    return {part: seconds[WARM_UP:] for part, seconds in times.items()}


def draw_images(folder: Path, count: int) -> None:
    """Write JPEG images of the size and smoothness of photographs: `count` to train on, and one more of each class."""
    rng = np.random.default_rng(0)
    for number in range(count + CLASSES):
        path = folder / ("train" if number < count else "val") / f"{number % CLASSES}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8)).resize(SIZE, Image.Resampling.BICUBIC)
        noise = rng.normal(0, 6, (SIZE[1], SIZE[0], 3))
        pixels = np.clip(np.asarray(coarse) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(path, quality=90)
