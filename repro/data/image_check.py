"""Passes over every image of a data set, and the check that all can be decoded."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from repro.data.dataset import Dataset
from repro.data.decode import REMEDY
from repro.data.subset import Subset
from repro.errors import ReproError

ProgressCallback = Callable[[int, int], object]  # called after each image with (images done, all images)
Result = TypeVar("Result")
WINDOW = 4096  # images given to the threads at once: each waiting one takes nearly 2 KB


def map_images(
    subsets: Iterable[Subset],
    function: Callable[[Subset, int], Result],
    progress: ProgressCallback | None = None,
) -> Iterator[Result]:
    """Yield function(subset, index) of every image, in order, computed in threads: Pillow releases Python's lock."""
    samples = [(subset, index) for subset in subsets for index in range(len(subset))]
    threads = ThreadPoolExecutor(os.cpu_count())
    windows = (samples[start : start + WINDOW] for start in range(0, len(samples), WINDOW))
    try:
        results = (result for window in windows for result in threads.map(lambda sample: function(*sample), window))
        for done, result in enumerate(results, 1):
            if progress:
                progress(done, len(samples))
            yield result
    finally:
        threads.shutdown(cancel_futures=True)  # also after Ctrl-C


def unreadable_images(dataset: Dataset, progress: ProgressCallback | None = None) -> list[str]:
    """Decode every image, and return "PATH (REASON)" for each that cannot be decoded."""
    return [error for error in map_images((dataset.train, dataset.val), _decoding_error, progress) if error]


def check_images(dataset: Dataset, progress: ProgressCallback | None = None) -> None:
    """Decode every image. Raises one ReproError with the number of those that cannot be decoded and the first five."""
    broken = unreadable_images(dataset, progress)
    if len(broken) == 1:
        raise ReproError(f"cannot read {broken[0]}; {REMEDY}")
    if broken:
        first, more = ", ".join(broken[:5]), ", ..." if len(broken) > 5 else ""
        total = len(dataset.train) + len(dataset.val)
        raise ReproError(f"cannot read {len(broken)} of {total} images: {first}{more}; replace or remove them")


def _decoding_error(subset: Subset, index: int) -> str | None:
    """Return "PATH (REASON)" for an image that cannot be decoded, or None."""
    try:
        subset.image(index)
    except ReproError as error:
        return str(error).removeprefix("cannot read ").removesuffix(f"; {REMEDY}")
    return None
