"""Listings of the folders of a data set, kept in the user's cache for later starts and other ranks."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from repro.data.decode import EXTENSIONS
from repro.errors import ReproError
from repro.files import locked, replacing, user_cache

SECOND = 10**9  # nanoseconds
RECENT = 2 * SECOND  # a change within the same tick of the file system's clock leaves the times as they are


class Listing(NamedTuple):
    """The sorted names of what a folder holds, without hidden entries."""

    folders: list[str]
    images: list[str]
    others: list[str]


Lister = Callable[[str], Listing]  # path of a folder in the data set ("", "train/", "train/cat/") -> its listing


@contextmanager
def cached_lister(root: Path) -> Iterator[Lister]:
    """Yield a function that lists a folder of the data set in `root`, and keep its listings when the block ends.

    A kept listing is valid while its folder keeps inode and times, of which ctime cannot be set back. One process of
    a machine lists: others that start at the same time wait for the end of its block, and read what it kept.
    The function raises ReproError for a folder that is unreadable.
    """
    path = user_cache("listings") / hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:32]
    with ExitStack() as stack:
        with suppress(OSError):  # a cache that cannot be written to saves no time
            stack.enter_context(locked(path))
        stored = _read(path)
        kept: dict[str, str] = {}

        def list_folder(prefix: str) -> Listing:
            stamp = _stamp(root / prefix)
            line = stored.get(prefix, "")
            listing = _listing(line, stamp)
            if listing is None:
                listing = _list_folder(root / prefix)
                line = json.dumps([stamp, *listing])
            # the target of a link can become a folder without a change here
            if stamp and not any((root / prefix / name).is_symlink() for name in listing.others):
                kept[prefix] = line
            return listing

        yield list_folder
        if kept != stored:
            with suppress(ReproError), replacing(path) as temporary, temporary.open("w", encoding="ascii") as file:
                file.writelines(f"{json.dumps(prefix)}\t{line}\n" for prefix, line in kept.items())


def is_image(name: str) -> bool:
    """Return whether a file's name has an image's extension."""
    return name.lower().endswith(EXTENSIONS)


def _stamp(folder: Path) -> list[int]:
    """Return the inode and the times of a folder, one of which changes with its contents.

    Returns nothing for a folder that changed just now, and on a file system that keeps whole seconds or, as for object
    stores, makes up the times of folders: a change could leave them as they are.
    """
    now = time.time_ns()
    try:
        status = folder.stat()
    except OSError:
        return []  # listing it is an error with a reason
    if max(status.st_mtime_ns, status.st_ctime_ns) > now - RECENT or not status.st_ctime_ns % SECOND:
        return []
    return [status.st_ino, status.st_mtime_ns, status.st_ctime_ns]


def _read(path: Path) -> dict[str, str]:
    """Return the kept listings, by the paths of folders, as JSON; none where they cannot be read."""
    stored = {}
    with suppress(OSError, ValueError, TypeError), path.open(encoding="ascii") as file:
        for line in file:
            prefix, _, listing = line.rstrip("\n").partition("\t")
            stored[json.loads(prefix)] = listing
    return stored


def _listing(line: str, stamp: list[int]) -> Listing | None:
    """Return a kept listing, or None unless the folder still has the same stamp."""
    if not stamp or not line.startswith(json.dumps([stamp])[:-1] + ","):
        return None
    with suppress(ValueError, TypeError):
        return Listing(*json.loads(line)[1:])
    return None


def _list_folder(folder: Path) -> Listing:
    """Return what a folder holds. Raises ReproError if it is unreadable."""
    names: list[str] = []
    listing = Listing([], [], [])
    try:
        with os.scandir(folder) as iterator:
            for entry in iterator:
                (listing.folders if entry.is_dir() else names).append(entry.name)
    except OSError as error:
        raise ReproError(f"cannot read {folder}: {error.strerror}; check its permissions") from error
    # A broken link is an image or a file: reading it is an error, instead of silently making the data set smaller
    for name in names:
        (listing.images if is_image(name) else listing.others).append(name)
    return Listing(*(sorted(name for name in kind if not name.startswith(".")) for kind in listing))
