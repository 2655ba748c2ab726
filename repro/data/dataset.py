"""A data set: the images to train on and the images to validate with."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from repro.data.digits import digits
from repro.data.folder import folder
from repro.data.idx import idx, sets
from repro.data.rng import stream
from repro.data.subset import ImageSource, Subset
from repro.data.tar import tar
from repro.errors import ReproError

EVERY_FIFTH = "every-fifth"


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set, split into the images to train on and the images to validate with."""

    name: str
    classes: tuple[str, ...]  # a label is a position in these
    train: Subset
    val: Subset
    split: str  # in words, for summaries

    @property
    def digest(self) -> str:
        """12 hex digits of the SHA-256 over classes, names and labels (not pixels): equal where the split is equal."""
        parts = [[part.names, part.labels.tolist()] for part in (self.train, self.val)]
        return hashlib.sha256(json.dumps([self.classes, parts]).encode()).hexdigest()[:12]


def open_dataset(source: str | Path, *, split: str | float = EVERY_FIFTH, seed: int = 0) -> Dataset:
    """Finds the images and splits them; no file is decoded yet.

    source: "digits"; a folder of CLASS/IMAGE, or of train/CLASS/IMAGE and val/CLASS/IMAGE (or test), whose own split is
    then taken; a .tar of these; or a folder with MNIST's idx files, of which train trains and t10k validates where
    both are there (a folder that is itself called digits is "./digits").
    split: "every-fifth" puts images 0, 5, 10 ... of each class, in the order of their names, into validation; a
    fraction such as 0.2, or its text, puts that much of each class there, drawn with `seed`.
    Raises ReproError for a source that is not laid out like this or damaged, and for another split.
    """
    fraction = _fraction(split)
    name = "digits" if source == "digits" else Path(source).resolve().name
    classes, parts, own = _find(source)
    if len(parts) == 2:
        if fraction is not None:
            raise ReproError(f"{source} has {own} of its own; leave the split {split} out, or give {EVERY_FIFTH}")
        return Dataset(name, classes, *parts, split=own)
    (whole,) = parts
    val = np.zeros(len(whole), bool)
    rng = stream(seed)
    for label, name_of_class in enumerate(classes):
        members = np.flatnonzero(whole.labels == label)
        if len(members) < 2:
            raise ReproError(
                f"class {name_of_class} of {source} has one image; it needs one to train and one to validate"
            )
        val[members[::5] if fraction is None else _draw(members, fraction, rng)] = True
    told = EVERY_FIFTH if fraction is None else f"{fraction:g} of each class at random, seed {seed}"
    return Dataset(name, classes, whole.select(~val), whole.select(val), told)


def _find(source: str | Path) -> ImageSource:
    if source == "digits":
        return digits()
    path = Path(source)
    if path.suffix == ".tar" and not path.is_dir():
        return tar(path)
    return idx(path) if sets(path) else folder(path)


def _fraction(split: str | float) -> float | None:
    """None for every fifth."""
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
    """That fraction of `members`, rounded, but neither none nor all of them."""
    count = min(max(round(fraction * len(members)), 1), len(members) - 1)
    return rng.permutation(members)[:count]
