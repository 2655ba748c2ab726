"""Data sets in folders: CLASS/IMAGE, or train/CLASS/IMAGE and val/CLASS/IMAGE."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from repro.data.decode import EXTENSIONS, decode
from repro.data.part import Part
from repro.errors import ReproError

LAYOUT = "give a folder of CLASS/IMAGE, or of train/CLASS/IMAGE and val/CLASS/IMAGE"


@dataclass(frozen=True)
class _Images:
    root: Path

    def __call__(self, name: str) -> Image.Image:
        return decode(self.root / name)


def folder(root: Path) -> tuple[tuple[str, ...], tuple[Part, ...]]:
    """The classes in the order of their names, and one part (to be split) or two (train and val).

    Classes and images are sorted by name, so that labels and order are the same on every machine. Hidden entries and
    files without an image's extension are left out. Raises ReproError for anything but LAYOUT.
    """
    if not root.is_dir():
        raise ReproError(f"{root} is not a folder; {LAYOUT}" if root.exists() else f"no such folder: {root}; {LAYOUT}")
    entries = _entries(root)
    if not entries:
        raise ReproError(f"{root} is empty; {LAYOUT}")
    if not {"train", "val"} <= {entry.name for entry in entries if entry.is_dir()}:
        classes, part = _part(root, "")
        return classes, (part,)
    (classes, train), (val_classes, val) = _part(root, "train/"), _part(root, "val/")
    if classes != val_classes:
        only = {"train": set(classes) - set(val_classes), "val": set(val_classes) - set(classes)}
        told = "; ".join(f"only in {side}: {', '.join(sorted(names))}" for side, names in only.items() if names)
        raise ReproError(f"train and val of {root} have different classes ({told}); both need the same class folders")
    return classes, (train, val)


def _part(root: Path, prefix: str) -> tuple[tuple[str, ...], Part]:
    here = root / prefix
    classes = tuple(entry.name for entry in _entries(here) if entry.is_dir())
    if not classes:
        raise ReproError(f"{here} has no class folders; {LAYOUT}")
    if len(classes) == 1:
        raise ReproError(f"{here} has one class folder only, {classes[0]}: there is nothing to tell apart; {LAYOUT}")
    names, labels = [], []
    for label, name in enumerate(classes):
        images = [entry.name for entry in _entries(here / name) if _is_image(entry)]
        if not images:
            raise ReproError(f"{here / name} holds no images ({' '.join(EXTENSIONS)}); {LAYOUT}")
        names += [f"{prefix}{name}/{image}" for image in images]
        labels += [label] * len(images)
    return classes, Part(tuple(names), np.array(labels, np.int64), _Images(root))


def _entries(path: Path) -> list[os.DirEntry[str]]:
    """What a folder holds apart from hidden entries, sorted by name."""
    try:
        with os.scandir(path) as found:
            return sorted((entry for entry in found if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        raise ReproError(f"cannot look into {path}: {error.strerror}; check its permissions") from error


def _is_image(entry: os.DirEntry[str]) -> bool:
    """A link to nowhere counts: it is told of when it is read, instead of silently making the data set smaller."""
    return entry.name.lower().endswith(EXTENSIONS) and not entry.is_dir()
