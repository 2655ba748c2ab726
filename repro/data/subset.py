"""Subsets of data sets: named, labelled images, each read when it is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from PIL import Image

from repro.data.decode import Divisor
from repro.data.names import Names


class Read(Protocol):
    """A reader of images by name. It must be picklable for the processes that load images."""

    def __call__(self, name: str, divisor: Divisor | None = None) -> Image.Image:
        """Return an RGB image. divisor: lets JPEG files be scaled while they are decoded, see repro.data.decode."""


@dataclass(frozen=True, eq=False)
class Subset:
    """Labelled images of a data set, each read when it is needed."""

    names: Sequence[str]
    labels: np.ndarray  # int64 (N,), positions in the data set's classes
    read: Read
    root: Path | None = None  # the folder or archive that holds the images; None: they are in memory

    def __len__(self) -> int:
        return len(self.names)

    def image(self, index: int, divisor: Divisor | None = None) -> Image.Image:
        """Return an RGB image, in its original size unless it is a JPEG and `divisor` lets its sides be divided.

        Raises ReproError for a file that cannot be decoded.
        """
        return self.read(self.names[index], divisor)

    def select(self, mask: np.ndarray) -> Subset:
        """Return the images for which `mask`, bool (N,), is true."""
        return replace(self, names=Names(compress(self.names, mask)), labels=self.labels[mask])


def labelled(labels: Mapping[str, str], classes: Sequence[str], read: Read, root: Path) -> Subset:
    """Return images sorted by name. labels: name of an image -> name of its class."""
    numbers = {name: number for number, name in enumerate(classes)}
    names = Names(sorted(labels))
    return Subset(names, np.array([numbers[labels[name]] for name in names], np.int64), read, root)


class ImageSource(NamedTuple):
    """The images of a source: one subset, which is still to be split, or one for training and one for validation."""

    classes: tuple[str, ...]
    subsets: tuple[Subset, ...]
    split: str = ""  # a description of two subsets, such as "folders train and val"
    ignored: tuple[str, ...] = ()  # other contents of the source, in words


@dataclass(frozen=True, eq=False)
class Pixels:
    """Grey images in memory, read by the names that `numbered` gives them."""

    pixels: np.ndarray  # uint8 (N, H, W)

    def __call__(self, name: str, divisor: Divisor | None = None) -> Image.Image:
        return Image.fromarray(self.pixels[int(name)]).convert("RGB")


def numbered(pixels: np.ndarray, labels: np.ndarray, digits: int) -> Subset:
    """Return grey images, uint8 (N, H, W), under the names "0000", "0001" and so on, with this number of digits."""
    return Subset(Names(f"{index:0{digits}d}" for index in range(len(pixels))), labels.astype(np.int64), Pixels(pixels))
