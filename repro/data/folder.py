"""Data sets in folders: CLASS/IMAGE, or train/CLASS/IMAGE and val/CLASS/IMAGE."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from repro.data.decode import EXTENSIONS, Divisor, decode
from repro.data.listing import Lister, cached_lister
from repro.data.names import Names
from repro.data.subset import ImageSource, Read, Subset
from repro.data.val_list import listed_subset
from repro.errors import ReproError

LAYOUT = (
    "give a folder of CLASS/IMAGE, or of train/CLASS/IMAGE and val/CLASS/IMAGE (or valid, validation or test), or a "
    ".tar of these"
)
VALIDATION_FOLDERS = ("val", "valid", "validation", "test")  # the first of these that exists is used
NO_IMAGES = "files without an image's extension"


@dataclass
class Ignored:
    """The paths of ignored files and folders, by the reason why they are ignored."""

    outside: list[str]  # images outside class folders
    nested: list[str]  # folders inside class folders
    others: list[str]  # files in class folders that are not images

    def __add__(self, more: Ignored) -> Ignored:
        return Ignored(self.outside + more.outside, self.nested + more.nested, self.others + more.others)

    def in_words(self) -> tuple[str, ...]:
        """Return a text for each kind that occurs."""
        return (
            *in_words("images outside class folders", self.outside),
            *in_words("folders inside class folders", self.nested),
            *in_words(NO_IMAGES, self.others),
        )


@dataclass(frozen=True)
class FolderImages:
    """Reads the images of a folder by their paths in it."""

    root: Path

    def __call__(self, name: str, divisor: Divisor | None = None) -> Image.Image:
        return decode(self.root / name, divisor=divisor)


def folder_source(root: Path) -> ImageSource:
    """Return the classes and images of a folder. Hidden entries are left out.

    Raises ReproError for a folder that is missing or has another layout than LAYOUT describes.
    """
    if not root.is_dir():
        raise ReproError(f"{root} is not a folder; {LAYOUT}" if root.exists() else f"no such folder: {root}; {LAYOUT}")
    with cached_lister(root) as list_folder:
        return source_in_layout(root, list_folder, FolderImages(root))


def source_in_layout(root: Path, list_folder: Lister, read: Read) -> ImageSource:
    """Return the classes and images of a folder or an archive: one subset, or one for training and one for validation.

    root: named in messages. list_folder: lists a folder of the data set. read: reads an image by its path in it.
    Classes and images are sorted by name, so that labels and order are the same on every machine. Files without an
    image's extension, images outside class folders and folders inside them are ignored, and listed as such.
    Raises ReproError for another layout than LAYOUT describes.
    """
    folders = list_folder("").folders
    validation = next((name for name in VALIDATION_FOLDERS if name in folders), None)
    if "train" not in folders or validation is None:
        classes, images, ignored = _subset(root, "", list_folder, read)
        return ImageSource(classes, (images,), ignored=ignored.in_words())
    classes, train, ignored = _subset(root, "train/", list_folder, read)
    listing = list_folder(f"{validation}/")
    if listing.images and not listing.folders and root.is_dir():
        val = listed_subset(root, validation, listing.images, classes, read)
        split = f"folder train, and {validation} by its list"
    else:
        val_classes, val, val_ignored = _subset(root, f"{validation}/", list_folder, read)
        check_same_classes(root, {"train": classes, validation: val_classes})
        ignored += val_ignored
        split = f"folders train and {validation}"
    ignored.outside += list_folder("").images
    others = tuple(f"folder {name}" for name in folders if name not in ("train", validation))
    return ImageSource(classes, (train, val), split, others + ignored.in_words())


def in_words(kind: str, names: list[str]) -> tuple[str, ...]:
    """Return the number of ignored entries of a kind and the first of them, or nothing where there are none."""
    return (f"{kind} ({len(names):,}, such as {min(names)})",) if names else ()


def check_same_classes(root: Path, classes: dict[str, tuple[str, ...]]) -> None:
    """Check that both subsets of `root` have the same classes. Raises ReproError that lists the differences.

    classes: name of each of the two subsets -> its classes.
    """
    (train, train_classes), (val, val_classes) = classes.items()
    extra = {train: set(train_classes) - set(val_classes), val: set(val_classes) - set(train_classes)}
    differences = [f"only in {subset}: {', '.join(sorted(names))}" for subset, names in extra.items() if names]
    if differences:
        raise ReproError(
            f"{train} and {val} of {root} have different classes ({'; '.join(differences)}); both need the same"
        )


def _subset(root: Path, prefix: str, list_folder: Lister, read: Read) -> tuple[tuple[str, ...], Subset, Ignored]:
    """Return the classes and the images in the class folders below `prefix`, and what is ignored there."""
    folder = root / prefix
    listing = list_folder(prefix)
    classes = tuple(listing.folders)
    if not classes:
        raise ReproError(f"{folder} has no class folders; {LAYOUT}")
    if len(classes) == 1:
        raise ReproError(f"{folder} has only one class folder, {classes[0]}; a classifier needs two; {LAYOUT}")
    ignored = Ignored([prefix + image for image in listing.images], [], [])
    names, labels = Names(), array("q")
    for label, name in enumerate(classes):
        path = f"{prefix}{name}/"
        listing = list_folder(path)
        if not listing.images:
            nested = f", only folders such as {listing.folders[0]}" if listing.folders else ""
            raise ReproError(f"{folder / name} holds no images ({' '.join(EXTENSIONS)}){nested}; {LAYOUT}")
        names.extend(path + image for image in listing.images)
        labels.extend([label] * len(listing.images))
        ignored.nested += [path + nested for nested in listing.folders]
        ignored.others += [path + other for other in listing.others]
    return classes, Subset(names, np.array(labels, np.int64), read, root), ignored
