"""Data sets in untrusted shards, uncompressed .tar files as WebDataset writes them: KEY.jpg and KEY.cls or KEY.json."""

from __future__ import annotations

import json
import os
import re
import sys
from array import array
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from repro.data.folder import VALIDATION_FOLDERS, in_words
from repro.data.listing import is_image
from repro.data.packed import PackedImages, cache_place
from repro.data.subset import ImageSource, Subset
from repro.data.tar import check_path, image_place, members
from repro.errors import ReproError
from repro.files import replacing
from repro.untrusted import printable, reading

WHAT = "a shard of WebDataset, an uncompressed .tar of KEY.jpg and KEY.cls or KEY.json"
PATTERN = re.compile(r"(.*)\{(\d+)\.\.(\d+)\}(.*\.tar)")
SHARD = re.compile(r"(.*?)[-_.]?\d+\.tar")  # the name before the number
MOST_SHARDS = 100_000
LARGEST_LABEL = 2**20  # bytes of a .cls or .json
LONGEST_LABEL = 200  # letters


class Entry(NamedTuple):
    """An image of a shard: its name in the shard, first byte, number of bytes, and label."""

    name: str
    start: int
    size: int
    label: str


def find_shards(source: Path) -> list[Path]:
    """Return the shards that a pattern names, such as train-{000000..000146}.tar, or that a folder holds.

    A folder holds shards if there is a numbered .tar and no other folder in it. The result is empty for any other
    source. Raises ReproError for a pattern with a bad range.
    """
    if match := PATTERN.fullmatch(source.name):
        before, first, last, after = match.groups()
        if not int(first) <= int(last) < int(first) + MOST_SHARDS:
            raise ReproError(f"{source} does not name from 1 to {MOST_SHARDS:,} shards; give NAME-{{FIRST..LAST}}.tar")
        return [source.with_name(f"{before}{n:0{len(first)}d}{after}") for n in range(int(first), int(last) + 1)]
    if not source.is_dir():
        return []
    with os.scandir(source) as iterator:
        entries = [entry for entry in iterator if not entry.name.startswith(".")]
    if any(entry.is_dir() for entry in entries):
        return []
    return sorted(source / entry.name for entry in entries if SHARD.fullmatch(entry.name))


def shard_source(source: Path, shards: list[Path]) -> ImageSource:
    """Return the classes and images of shards: one subset, or one for training and one for validation.

    Labels are those of KEY.cls, or else "label" in KEY.json. Where all are whole numbers, classes are sorted as
    numbers. Shards with the word train in their names and others with val (or valid, validation or test) make two
    subsets. Raises ReproError for a missing or damaged shard, an image without a label, and other names.
    """
    groups: dict[str, list[Path]] = {}
    for shard in shards:
        match = SHARD.fullmatch(shard.name)
        groups.setdefault(match[1] if match else "", []).append(shard)
    subsets = {name: _Images(paths) for name, paths in _subset_names(source, groups).items()}
    classes = sort_classes({label for images in subsets.values() for label in images.labels})
    if len(classes) < 2:
        raise ReproError(f"{source} has images of only one class; a classifier needs two")
    numbers = {label: number for number, label in enumerate(classes)}
    parts = tuple(images.subset(numbers) for images in subsets.values())
    others = [name for images in subsets.values() for name in images.unlabelled]
    split = f"shards {' and '.join(subsets)}" if len(subsets) > 1 else ""
    return ImageSource(classes, parts, split, in_words("files that belong to no image", others))


def _subset_names(source: Path, groups: dict[str, list[Path]]) -> dict[str, list[Path]]:
    """Return the shards to train on, and those to validate with, by the names before their numbers."""
    if len(groups) == 1:
        return groups
    words = {name: re.split(r"[^a-z]+", name.lower()) for name in groups}
    train = [name for name in groups if "train" in words[name]]
    validation = [name for word in VALIDATION_FOLDERS for name in groups if word in words[name]]
    if len(train) != 1 or not validation or len(groups) != 2:
        raise ReproError(
            f"{source} holds shards of {', '.join(map(repr, sorted(groups)))}; keep those of one name, or of two "
            "with the words train and val"
        )
    return {train[0]: groups[train[0]], validation[0]: groups[validation[0]]}


def sort_classes(labels: set[str]) -> tuple[str, ...]:
    """Return labels in order: as numbers where all are whole numbers."""
    are_numbers = all(label.isascii() and label.isdecimal() for label in labels)
    return tuple(sorted(labels, key=(lambda label: (int(label), label)) if are_numbers else None))


class _Images:
    """The images of some shards, sorted by name."""

    def __init__(self, shards: list[Path]) -> None:
        self.files = {shard.name: shard for shard in shards}
        self.root = shards[0].parent
        self.unlabelled: list[str] = []
        names: list[str] = []
        self.starts, self.sizes, self.labels = array("q"), array("q"), []
        for shard in sorted(shards, key=lambda path: f"{path.name}/"):
            with reading(shard, WHAT):
                entries, others = _indexed(shard)
            for name, start, size, label in sorted(entries):
                names.append(f"{shard.name}/{name}")
                self.starts.append(start)
                self.sizes.append(size)
                self.labels.append(sys.intern(label))
            self.unlabelled += [f"{shard.name}/{name}" for name in others]
        self.names = tuple(names)

    def subset(self, numbers: dict[str, int]) -> Subset:
        """Return the images with the numbers of their labels."""
        read = PackedImages(self.root, self.files, WHAT, self.names, np.array(self.starts), np.array(self.sizes))
        labels = np.array([numbers[label] for label in self.labels], np.int64)
        return Subset(self.names, labels, read, self.root)


def _indexed(shard: Path) -> tuple[list[Entry], list[str]]:
    """Return the images of a shard and the names of other files, from its index in the cache, or else by reading it.

    An index is valid for one size and time of the shard. An index that cannot be read or written is ignored.
    """
    place, key = cache_place("shards", shard)
    path = place.with_suffix(".json")
    with suppress(OSError, ValueError, TypeError):
        stored_key, entries, others = json.loads(path.read_text())
        if stored_key == key:
            return [Entry(*entry) for entry in entries], others
    entries, others = _read_index(shard)
    with suppress(OSError, ReproError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps([key, entries, others]))
    return entries, others


def _read_index(shard: Path) -> tuple[list[Entry], list[str]]:
    """Return the images of a shard, and the names of files that are neither an image nor the label of one.

    Raises ValueError for a damaged shard, and for an image without a label or with two.
    """
    images: dict[str, tuple[str, int, int]] = {}  # key -> name and place
    labels: dict[str, dict[str, str]] = {}  # key -> kind of file -> label
    others = []
    with shard.open("rb") as file:
        for member in members(shard):
            path = PurePosixPath(member.name)
            if member.isdir() or any(part.startswith(".") and part != ".." for part in path.parts):
                continue
            stem, _, kind = path.name.partition(".")
            key = str(path.with_name(stem))
            if is_image(path.name):
                check_path(member)
                if key in images:
                    raise ValueError(f"it holds two images with the key {printable(key)}")
                images[key] = (str(path), *image_place(member))
            elif kind in ("cls", "json") and member.isreg() and member.size <= LARGEST_LABEL:
                file.seek(member.offset_data)
                if label := _label(file.read(member.size), kind):
                    labels.setdefault(key, {})[kind] = label
            else:
                others.append(printable(member.name))
    entries = []
    for key, (name, start, size) in images.items():
        kinds = labels.get(key, {})
        label = kinds.get("cls") or kinds.get("json")
        if label is None:
            raise ValueError(f"{printable(key)} has no .cls, and no .json with a label")
        entries.append(Entry(name, start, size, label))
    if not entries:
        raise ValueError("it holds no images")
    return entries, others


def _label(content: bytes, kind: str) -> str | None:
    """Return the label in a .cls or .json, or None. Raises ValueError for a label that is not text."""
    text = content.decode()
    value = json.loads(text) if kind == "json" else text.strip()
    if isinstance(value, dict):
        value = value.get("label")
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return None
    label = str(value)
    if not label.isprintable() or not 0 < len(label) <= LONGEST_LABEL:
        raise ValueError(f"it holds the label {label[:40]!r}")
    return label
