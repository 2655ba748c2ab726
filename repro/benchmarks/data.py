"""Images per second of our data loader, compared with torchvision's loader and with decoding only."""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from repro.benchmarks.measurement import OURS, SpeedComparison, in_turn, timed
from repro.benchmarks.process import in_process
from repro.data import Dataset, Loader, Subset, Transform, open_dataset
from repro.errors import ReproError
from repro.interface.peers import load_peers, missing_peer
from repro.weights import Log

MOST_IMAGES = 512  # in a round; every round reads the same images


def measure_data(
    data: str, log: Log, *, workers: int, decode: str, image_size: int, batch_size: int, rounds: int
) -> Iterator[SpeedComparison]:
    """Yield the images per second of both loaders, which crop at random, flip and normalise, and of decoding only.

    Every round reads the same images, at most MOST_IMAGES, in the same number of processes. `log` receives the reason
    if torchvision's loader cannot take part. Raises ReproError for data that cannot be opened or has too few images.
    """
    source = data if data == "digits" else str(Path(data).resolve())  # the process starts in another folder
    rates, note = in_process(
        "torch", "repro.benchmarks.data:compare_loaders", source, workers, image_size, batch_size, rounds, decode
    )
    if note:
        log(note)
    how = "" if decode == "exact" else f", {decode}"
    yield SpeedComparison(f"{Path(data).name}, {workers} workers{how}", "images/s", rates)


def compare_loaders(
    data: str, workers: int, image_size: int, batch_size: int, rounds: int, decode: str = "exact"
) -> tuple[dict[str, list[float]], str]:
    """Return the images per second of each round by loader, and the reason why torchvision's takes no part, or "".

    Call it in a process of its own.
    """
    dataset = sample(open_dataset(data), batch_size)
    images = len(dataset.train)
    transform = Transform(image_size=image_size, resize="crop", flip=0.5, decode=decode)
    note = ""
    with ExitStack() as stack:
        loader = stack.enter_context(Loader(dataset, batch_size=batch_size, workers=workers))
        tasks: dict[str, Callable[[], object]] = {OURS: lambda: consume(loader.train(0, transform))}
        try:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            link(dataset, folder)
            peer = load_peers("torch").batches(folder, image_size=image_size, batch_size=batch_size, workers=workers)
            tasks["torchvision"] = lambda: consume(peer)
        except ReproError as error:
            note = f"without torchvision: {error}"
        except ImportError as error:
            note = f"without torchvision: {missing_peer('torch', error)}"
        if workers:
            pool = stack.enter_context(ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")))
            parts = np.array_split(np.arange(images), images // batch_size)
            tasks["decoding alone"] = lambda: consume(pool.map(decode_only, [dataset.train] * len(parts), parts))
        else:
            tasks["decoding alone"] = lambda: decode_only(dataset.train, range(images))
        seconds = in_turn({name: timed(task) for name, task in tasks.items()}, rounds)
    return {name: [images / value for value in values] for name, values in seconds.items()}, note


def sample(dataset: Dataset, batch_size: int) -> Dataset:
    """Return the data set with at most MOST_IMAGES of its training images, spread evenly, in whole batches.

    Raises ReproError for fewer images than one batch.
    """
    images = len(dataset.train)
    count = min(images, max(MOST_IMAGES, batch_size)) // batch_size * batch_size
    if not count:
        raise ReproError(f"{dataset.name} has {images} images to train on, less than a batch of {batch_size}; give a "
                         "smaller --batch-size")  # fmt: skip
    mask = np.zeros(images, bool)
    mask[np.arange(count) * images // count] = True
    return replace(dataset, train=dataset.train.select(mask))


def link(dataset: Dataset, folder: Path) -> None:
    """Fill a folder of CLASS/IMAGE with links to the training images.

    Raises ReproError if the images are not separate files.
    """
    subset = dataset.train
    root = subset.root
    if root is None or not all((root / name).is_file() for name in subset.names):
        raise ReproError(f"its loader reads images in folders, and those of {dataset.name} are stored otherwise")
    for number, (name, label) in enumerate(zip(subset.names, subset.labels.tolist(), strict=True)):
        path = folder / f"{label:05d}" / f"{number}{Path(name).suffix}"
        path.parent.mkdir(exist_ok=True)
        path.symlink_to((root / name).resolve())


def decode_only(subset: Subset, indices: Sequence[int]) -> None:
    """Decode images to RGB, in full."""
    for index in indices:
        subset.image(int(index))


def consume(batches: Iterable[object]) -> None:
    """Wait for every batch."""
    for _ in batches:
        pass
