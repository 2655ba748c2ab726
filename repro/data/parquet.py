"""Data sets in untrusted Parquet files as Hugging Face's `datasets` writes them, whose images are copied out once."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from repro.data.folder import VALIDATION_FOLDERS, check_same_classes
from repro.data.packed import PackedImages, cache_place
from repro.data.parquet_copy import WHAT
from repro.data.shards import sort_classes
from repro.data.subset import ImageSource, Subset
from repro.errors import ReproError
from repro.files import locked, replacing
from repro.untrusted import reading

NUMBERED = re.compile(r"(.+?)(-\d+-of-\d+(-[0-9a-f]+)?)?\.parquet")  # the name of the subset before the number


COPY = "the copy of a Parquet file's images, which the next start makes again"


class Rows(NamedTuple):
    """The images of a file: the copy of their bytes, the size of each in the copy, int64 (N,), and their labels."""

    copy: Path
    sizes: np.ndarray
    labels: list[str]
    classes: list[str]  # in the order of the ClassLabel; empty if the file has none


def find_parquet(source: Path) -> list[Path]:
    """Return the Parquet files of a source: itself, or those in a folder or in its folder `data`; [] for others."""
    if source.suffix == ".parquet" and not source.is_dir():
        return [source]
    return sorted(source.glob("[!.]*.parquet")) or sorted(source.glob("data/[!.]*.parquet"))


def parquet_source(source: Path, files: list[Path]) -> ImageSource:
    """Return the classes and images of Parquet files: one subset, or one for training and one for validation.

    The subsets are named before "-00000-of-00002.parquet"; with train, the first of val, valid, validation and test
    validates. Classes are those of the ClassLabel that occur, in its order, or else sorted. The bytes of the images are
    copied to the user's cache, which serves until the size or time of a file changes.
    Raises ReproError if pyarrow is missing, for a damaged file, other columns, and a row without image or label.
    """
    groups: dict[str, list[Path]] = {}
    for file in files:
        match = NUMBERED.fullmatch(file.name)
        groups.setdefault(match[1] if match else "", []).append(file)
    validation = next((name for name in VALIDATION_FOLDERS if name in groups), None)
    if "train" in groups and validation:
        chosen = {"train": groups["train"], validation: groups[validation]}
    elif len(groups) == 1:
        chosen = groups
    else:
        raise ReproError(
            f"{source} holds the subsets {', '.join(map(repr, sorted(groups)))}; keep the files of one of them, or of "
            "train and validation"
        )
    rows = {name: [_copied(file) for file in paths] for name, paths in chosen.items()}
    used = {name: {label for part in parts for label in part.labels} for name, parts in rows.items()}
    declared = next(iter(rows.values()))[0].classes
    if any(part.classes != declared for parts in rows.values() for part in parts):
        raise ReproError(f"the files of {source} differ in the classes that they declare; keep those of one data set")
    labels = set().union(*used.values())
    classes = tuple(name for name in declared if name in labels) if declared else sort_classes(labels)
    if len(classes) < 2:
        raise ReproError(f"{source} has images of only one class; a classifier needs two")
    if validation in chosen:
        check_same_classes(source, {name: tuple(labels) for name, labels in used.items()})
    numbers = {label: number for number, label in enumerate(classes)}
    parts = tuple(_subset(chosen[name], rows[name], numbers) for name in chosen)
    split = f"files {' and '.join(chosen)}" if len(chosen) > 1 else ""
    return ImageSource(classes, parts, split, tuple(f"files {name}" for name in sorted(groups) if name not in chosen))


def _subset(files: list[Path], rows: list[Rows], numbers: dict[str, int]) -> Subset:
    """Return the images of some files, which are sorted by name. numbers: class -> its label."""
    names: list[str] = []
    starts = []
    for file, part in zip(files, rows, strict=True):
        names += [f"{file.name}/{row:08d}" for row in range(len(part.sizes))]
        starts.append(np.cumsum(part.sizes) - part.sizes)
    copies = {file.name: part.copy for file, part in zip(files, rows, strict=True)}
    sizes = np.concatenate([part.sizes for part in rows])
    read = PackedImages(files[0].parent, copies, COPY, tuple(names), np.concatenate(starts), sizes)
    labels = np.array([numbers[label] for part in rows for label in part.labels], np.int64)
    return Subset(read.names, labels, read, files[0].parent)


def _copied(file: Path) -> Rows:
    """Return the images of a file, whose bytes are copied to the user's cache unless they are there already.

    One process of a machine copies; others that start at the same time wait for it.
    """
    with reading(file, WHAT):
        base, key = cache_place("parquet", file)
    if rows := _copied_before(base, key):
        return rows
    copy, index = base.with_suffix(".images"), base.with_suffix(".json")
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(base))
        except OSError as error:
            reason = f"cannot write {base.parent}: {error.strerror}"
            raise ReproError(f"{reason}; set XDG_CACHE_HOME to another folder") from error
        if rows := _copied_before(base, key):  # the process that held the lock has copied it
            return rows
        with replacing(copy) as images, replacing(index) as listing:
            _copy(file, images, listing)
            sizes, labels, classes = json.loads(listing.read_text())
            listing.write_text(json.dumps([key, [sizes, labels, classes]]))
    return Rows(copy, np.array(sizes, np.int64), labels, classes)


def _copied_before(base: Path, key: list[int]) -> Rows | None:
    """Return the images of a file's copy; None unless it is whole, and of the file's size and time.

    base, key: what cache_place returns.
    """
    copy, index = base.with_suffix(".images"), base.with_suffix(".json")
    with suppress(OSError, ValueError, TypeError):
        stored_key, (sizes, labels, classes) = json.loads(index.read_text())
        if stored_key == key and copy.stat().st_size == sum(sizes) and len(sizes) == len(labels):
            return Rows(copy, np.array(sizes, np.int64), labels, classes)
    return None


def _copy(file: Path, images: Path, listing: Path) -> None:
    """Run repro.data.parquet_copy. Raises ReproError with its error, or with the signal that ended it."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "repro.data.parquet_copy", *map(str, (file, images, listing))]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, env=environment)
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise ReproError(f"cannot read {file} as {WHAT}: its reader ended with {name}; the file is probably damaged")
    if done.returncode:
        raise ReproError((done.stderr.strip().splitlines() or [f"cannot read {file}"])[-1])
