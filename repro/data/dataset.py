"""A data set: the images to train on and the images to validate with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from repro.choices import EVERY_FIFTH
from repro.data.csv_list import csv_source
from repro.data.digits import digits_source
from repro.data.folder import folder_source
from repro.data.idx import idx_prefixes, idx_source
from repro.data.names import Names
from repro.data.parquet import find_parquet, parquet_source
from repro.data.rng import random_stream
from repro.data.shards import find_shards, shard_source
from repro.data.subset import ImageSource, Subset
from repro.data.tar import tar_source
from repro.errors import ReproError

PIECE = 10_000  # elements of a list that become JSON at once


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set, split into the images to train on and the images to validate with."""

    name: str
    classes: tuple[str, ...]  # a label is a position in these
    train: Subset
    val: Subset
    split: str  # in words, for summaries
    ignored: tuple[str, ...] = ()  # other contents of the source, in words, such as "folder extra"

    @property
    def digest(self) -> str:
        """12 hex digits of the SHA-256 over classes, names and labels (not pixels): equal where the split is equal."""
        digest = hashlib.sha256()
        for piece in self._json():
            digest.update(piece.encode())
        return digest.hexdigest()[:12]

    def _json(self) -> Iterator[str]:
        """Yield [classes, [[names, labels], [names, labels]]] in pieces, since a million names are long."""
        yield f"[{json.dumps(self.classes)}, [["
        yield from _subset_json(self.train)
        yield "], ["
        yield from _subset_json(self.val)
        yield "]]]"


def open_dataset(source: str | Path, *, split: str | float = EVERY_FIFTH, seed: int = 0) -> Dataset:
    """Find the images of a data set and split them. No image is decoded yet.

    source: "digits"; a folder of CLASS/IMAGE, or of train/CLASS/IMAGE and val/CLASS/IMAGE (or valid, validation or
    test), whose split is kept; a .tar of these; shards of WebDataset, as a folder of them or a pattern such as
    "train-{000000..000146}.tar"; Parquet files of Hugging Face's `datasets`, as one or as a folder; a .csv of paths and
    labels; or a folder with MNIST's idx files, where train trains and t10k validates if both exist.
    A folder called digits is "./digits".
    split: "every-fifth" validates with images 0, 5, 10 ... of each class, in the order of their names; a fraction such
    as 0.2, or its text, validates with that fraction of each class, drawn with `seed`.
    Raises ReproError for a source with another layout or with damaged files, and for another split.
    """
    fraction = _fraction(split)
    name = "digits" if source == "digits" else Path(source).resolve().name
    classes, subsets, source_split, ignored = _image_source(source)
    if len(subsets) == 2:
        if fraction is not None:
            raise ReproError(
                f"{source} is already split into {source_split}; leave the split {split} out, or give {EVERY_FIFTH}"
            )
        return Dataset(name, classes, *subsets, split=source_split, ignored=ignored)
    (images,) = subsets
    is_val = np.zeros(len(images), bool)
    rng = random_stream(seed)
    for label, class_name in enumerate(classes):
        members = np.flatnonzero(images.labels == label)
        if len(members) < 2:
            raise ReproError(f"class {class_name} of {source} has one image; it needs one to train and one to validate")
        is_val[members[::5] if fraction is None else _draw(members, fraction, rng)] = True
    description = EVERY_FIFTH if fraction is None else f"{fraction:g} of each class at random, seed {seed}"
    return Dataset(name, classes, images.select(~is_val), images.select(is_val), description, ignored)


def _image_source(source: str | Path) -> ImageSource:
    """Return the images of a source of any kind."""
    if source == "digits":
        return digits_source()
    path = Path(source)
    if files := find_parquet(path):
        return parquet_source(path, files)
    if shards := find_shards(path):
        return shard_source(path, shards)
    if path.suffix == ".tar" and not path.is_dir():
        return tar_source(path)
    if path.suffix == ".csv" and not path.is_dir():
        return csv_source(path)
    return idx_source(path) if idx_prefixes(path) else folder_source(path)


def _fraction(split: str | float) -> float | None:
    """Return the fraction of a split, or None for every-fifth. Raises ReproError for another split."""
    if split == EVERY_FIFTH:
        return None
    try:
        fraction = float(split)
    except ValueError:
        fraction = 0.0
    if not 0 < fraction < 1:
        raise ReproError(f"split must be {EVERY_FIFTH} or a fraction between 0 and 1 such as 0.2, not {split!r}")
    return fraction


def _draw(members: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Return a random selection of this fraction of `members`, rounded, but at least one and not all of them."""
    count = min(max(round(fraction * len(members)), 1), len(members) - 1)
    return rng.permutation(members)[:count]


def _subset_json(subset: Subset) -> Iterator[str]:
    """Yield the JSON of the names and of the labels, two lists, in pieces."""
    names = subset.names if isinstance(subset.names, Names) else Names(subset.names)
    pieces = (subset.labels[start : start + PIECE].tolist() for start in range(0, len(subset), PIECE))
    yield "["
    yield from _joined(names.json())
    yield "], ["
    yield from _joined(json.dumps(piece)[1:-1] for piece in pieces)
    yield "]"


def _joined(pieces: Iterable[str]) -> Iterator[str]:
    """Yield the pieces with ", " between them."""
    for number, piece in enumerate(pieces):
        yield f", {piece}" if number else piece
