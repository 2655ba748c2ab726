"""Data sets in folders: CLASS/IMAGE, or train/CLASS/IMAGE and val/CLASS/IMAGE."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from repro.data.decode import EXTENSIONS, decode
from repro.data.subset import ImageSource, Read, Subset
from repro.errors import ReproError

LAYOUT = "give a folder of CLASS/IMAGE, or of train/CLASS/IMAGE and val/CLASS/IMAGE (or test), or a .tar of these"
VALIDATING = ("val", "test")  # the first of these that is there
Look = Callable[[str], tuple[list[str], list[str]]]  # "", "train/" or so -> the folders and the images there, sorted


@dataclass(frozen=True)
class _Images:
    root: Path

    def __call__(self, name: str) -> Image.Image:
        return decode(self.root / name)


def folder(root: Path) -> ImageSource:
    """The classes and images of a folder. Hidden entries and files without an image's extension are left out.
    Raises ReproError for anything but LAYOUT."""
    if not root.is_dir():
        raise ReproError(f"{root} is not a folder; {LAYOUT}" if root.exists() else f"no such folder: {root}; {LAYOUT}")
    return arrange(root, partial(_look, root), _Images(root))


def arrange(root: Path, look: Look, read: Read) -> ImageSource:
    """The classes in the order of their names, and one part or two, for train and for val or test.

    Classes and images are sorted by name, so that labels and order are the same on every machine.
    Raises ReproError, which names `root`, for anything but LAYOUT.
    """
    folders, _ = look("")
    other = next((name for name in VALIDATING if name in folders), None)
    if "train" not in folders or other is None:
        classes, part = _part(root, "", look, read)
        return ImageSource(classes, (part,))
    (classes, train), (val_classes, val) = (_part(root, f"{name}/", look, read) for name in ("train", other))
    same_classes(root, {"train": classes, other: val_classes})
    return ImageSource(classes, (train, val), f"folders train and {other}")


def same_classes(root: Path, classes: dict[str, tuple[str, ...]]) -> None:
    """Raises ReproError unless the two parts of `root`, by their names, have the same classes."""
    (one, ours), (other, theirs) = classes.items()
    only = {one: set(ours) - set(theirs), other: set(theirs) - set(ours)}
    if told := "; ".join(f"only in {side}: {', '.join(sorted(names))}" for side, names in only.items() if names):
        raise ReproError(f"{one} and {other} of {root} have different classes ({told}); both need the same")


def _part(root: Path, prefix: str, look: Look, read: Read) -> tuple[tuple[str, ...], Subset]:
    here = root / prefix
    classes = tuple(look(prefix)[0])
    if not classes:
        raise ReproError(f"{here} has no class folders; {LAYOUT}")
    if len(classes) == 1:
        raise ReproError(f"{here} has one class folder only, {classes[0]}: there is nothing to tell apart; {LAYOUT}")
    names, labels = [], []
    for label, name in enumerate(classes):
        _, images = look(f"{prefix}{name}/")
        if not images:
            raise ReproError(f"{here / name} holds no images ({' '.join(EXTENSIONS)}); {LAYOUT}")
        names += [f"{prefix}{name}/{image}" for image in images]
        labels += [label] * len(images)
    return classes, Subset(tuple(names), np.array(labels, np.int64), read)


def _look(root: Path, prefix: str) -> tuple[list[str], list[str]]:
    path = root / prefix
    try:
        with os.scandir(path) as found:
            entries = sorted((entry.name, entry.is_dir()) for entry in found if not entry.name.startswith("."))
    except OSError as error:
        raise ReproError(f"cannot look into {path}: {error.strerror}; check its permissions") from error
    # A link to nowhere counts: it is told of when it is read, instead of silently making the data set smaller
    images = [name for name, is_folder in entries if not is_folder and is_image(name)]
    return [name for name, is_folder in entries if is_folder], images


def is_image(name: str) -> bool:
    """Return whether a file's name has an image's extension."""
    return name.lower().endswith(EXTENSIONS)
