"""Every image of a data set, looked at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from repro.data.dataset import Dataset
from repro.data.decode import REMEDY
from repro.data.subset import Subset
from repro.errors import ReproError

Progress = Callable[[int, int], object]  # called after each image with the number done and their total
Result = TypeVar("Result")
WINDOW = 4096  # images handed to the threads at once: each waiting one takes nearly 2 KB


def each(
    parts: Iterable[Subset], function: Callable[[Subset, int], Result], progress: Progress | None = None
) -> Iterator[Result]:
    """function(part, index) of every image, in order, computed in threads: Pillow works outside Python's lock."""
    samples = [(part, index) for part in parts for index in range(len(part))]
    threads = ThreadPoolExecutor(os.cpu_count())
    windows = (samples[start : start + WINDOW] for start in range(0, len(samples), WINDOW))
    try:
        found = (result for window in windows for result in threads.map(lambda sample: function(*sample), window))
        for done, result in enumerate(found, 1):
            if progress:
                progress(done, len(samples))
            yield result
    finally:
        threads.shutdown(cancel_futures=True)  # after Ctrl-C, too


def unreadable(dataset: Dataset, progress: Progress | None = None) -> list[str]:
    """Decodes every image: "PATH (REASON)" for each that cannot be decoded."""
    found = each((dataset.train, dataset.val), _complaint, progress)
    return [complaint for complaint in found if complaint]


def check_images(dataset: Dataset, progress: Progress | None = None) -> None:
    """Raises one ReproError for all images that cannot be decoded, with their number and the first five."""
    broken = unreadable(dataset, progress)
    if len(broken) == 1:
        raise ReproError(f"cannot read {broken[0]}; {REMEDY}")
    if broken:
        first, more = ", ".join(broken[:5]), ", ..." if len(broken) > 5 else ""
        total = len(dataset.train) + len(dataset.val)
        raise ReproError(f"cannot read {len(broken)} of {total} images: {first}{more}; replace them or take them out")


def _complaint(part: Subset, index: int) -> str | None:
    try:
        part.image(index)
    except ReproError as error:
        return str(error).removeprefix("cannot read ").removesuffix(f"; {REMEDY}")
    return None
