"""Passes over the images of a data set, and the check that all can be decoded, which is made once."""

from __future__ import annotations

import hashlib
import os
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, groupby, islice
from pathlib import Path
from typing import TypeVar

from repro.data.dataset import Dataset
from repro.data.decode import REMEDY
from repro.data.subset import Subset
from repro.errors import ReproError
from repro.files import user_cache

ProgressCallback = Callable[[int, int], object]  # called after each image with (images done, all images)
Result = TypeVar("Result")
Part = tuple[Subset, range]  # images of a subset, by their indices
WINDOW = 4096  # images given to the threads at once: each waiting one takes nearly 2 KB


def map_images(
    parts: Iterable[Part],
    function: Callable[[Subset, int], Result],
    progress: ProgressCallback | None = None,
) -> Iterator[Result]:
    """Yield function(subset, index) of every image, in order, computed in threads: Pillow releases Python's lock."""
    parts = list(parts)
    total = sum(len(indices) for _, indices in parts)
    samples = ((subset, index) for subset, indices in parts for index in indices)
    windows = iter(lambda: list(islice(samples, WINDOW)), [])
    threads = ThreadPoolExecutor(os.cpu_count())
    try:
        results = (result for window in windows for result in threads.map(lambda sample: function(*sample), window))
        for done, result in enumerate(results, 1):
            if progress:
                progress(done, total)
            yield result
    finally:
        threads.shutdown(cancel_futures=True)  # also after Ctrl-C


def record_folder() -> Path:
    """Return the folder of the records of checks, in the user's cache."""
    return user_cache("images")


class ImageCheck:
    """The images of a data set that are still to be checked by this rank.

    A record in the user's cache, one for each data set, holds a digest of every folder whose images could all be
    decoded. The digest covers path, size and time of each file, so that a changed file voids that of its folder. Each
    folder is recorded when it is done, so that an interrupted check is continued. Images in memory need no check.
    """

    def __init__(self, dataset: Dataset, *, rank: int = 0, world_size: int = 1, fresh: bool = False) -> None:
        """Find the images.

        rank, world_size: this process among those that share the check; each checks every `world_size`-th folder.
        fresh: check all images, whatever the record holds.
        """
        self.failure = ""  # the reason why the record could not be written
        self.folders: dict[str, list[Part]] = {}  # digest -> images
        root = dataset.train.root
        if root is None:
            return
        self.record = record_folder() / hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:32]
        recorded = set() if fresh else _lines(self.record)
        folders = list(_folders((dataset.train, dataset.val)).items())
        for name, parts in folders[rank::world_size]:
            digest = _digest(root, name, parts)
            if digest not in recorded:
                self.folders[digest] = parts

    @property
    def images(self) -> int:
        """Return the number of images."""
        return sum(len(indices) for parts in self.folders.values() for _, indices in parts)

    def unreadable(self, progress: ProgressCallback | None = None) -> list[str]:
        """Decode every image, and return "PATH (REASON)" for each that cannot be decoded."""
        parts = [part for parts in self.folders.values() for part in parts]
        results = map_images(parts, _decoding_error, progress)
        unreadable = []
        for digest, parts in self.folders.items():
            count = sum(len(indices) for _, indices in parts)
            errors = [error for error in islice(results, count) if error]
            if not errors:
                self._add_to_record(digest)
            unreadable += errors
        return unreadable

    def _add_to_record(self, digest: str) -> None:
        try:
            self.record.parent.mkdir(parents=True, exist_ok=True)
            with self.record.open("a", encoding="ascii") as file:  # other ranks add to it at the same time
                file.write(f"{digest}\n")
        except OSError as error:
            self.failure = f"{self.record}: {error.strerror}"


def check_images(check: ImageCheck, progress: ProgressCallback | None = None) -> None:
    """Decode every image. Raises one ReproError with the number of those that cannot be decoded and the first five."""
    unreadable = check.unreadable(progress)
    if len(unreadable) == 1:
        raise ReproError(f"cannot read {unreadable[0]}; {REMEDY}")
    if unreadable:
        first, more = ", ".join(unreadable[:5]), ", ..." if len(unreadable) > 5 else ""
        raise ReproError(
            f"cannot read {len(unreadable)} of {check.images} images: {first}{more}; replace or remove them"
        )


def _decoding_error(subset: Subset, index: int) -> str | None:
    """Return "PATH (REASON)" for an image that cannot be decoded, or None."""
    try:
        subset.image(index)
    except ReproError as error:
        return str(error).removeprefix("cannot read ").removesuffix(f"; {REMEDY}")
    return None


def _folders(subsets: Iterable[Subset]) -> dict[str, list[Part]]:
    """Return the images of each folder, which may belong to several subsets."""
    folders: dict[str, list[Part]] = defaultdict(list)
    for subset in subsets:
        start = 0
        for folder, names in groupby(subset.names, key=lambda name: name.rpartition("/")[0]):
            stop = start + sum(1 for _ in names)
            folders[folder].append((subset, range(start, stop)))
            start = stop
    return folders


def _digest(root: Path, folder: str, parts: list[Part]) -> str:
    """Return a digest of the paths, sizes and times of a folder's images, or of the archive that holds them."""
    names = chain.from_iterable(subset.names[indices.start : indices.stop] for subset, indices in parts)
    start = len(folder) + 1 if folder else 0
    files = sorted([name[start:] for name in names])
    numbers = array("q")
    try:
        archive = root if root.is_file() else root / folder.partition("/")[0]
        if archive.is_file():
            status = archive.stat()
            numbers.extend((status.st_size, status.st_mtime_ns))
        else:
            handle = os.open(root / folder, os.O_RDONLY | os.O_DIRECTORY)  # paths would be looked up for each file
            try:
                statuses = [os.stat(file, dir_fd=handle) for file in files]
            finally:
                os.close(handle)
            numbers.extend([status.st_size for status in statuses])
            numbers.extend([status.st_mtime_ns for status in statuses])
    except OSError:
        files.append("/")  # no name of a file: the folder is checked, and what cannot be read is reported
    paths = "\0".join([str(root.resolve() / folder), *files])
    return hashlib.sha256(os.fsencode(paths) + b"\0" + numbers.tobytes()).hexdigest()


def _lines(path: Path) -> set[str]:
    """Return the lines of a record; none if it cannot be read."""
    try:
        return set(path.read_text(encoding="ascii", errors="replace").splitlines())
    except OSError:
        return set()
