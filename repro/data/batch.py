"""Batches of images, and what a loading process needs to know of one."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np

from repro.data.dataset import Dataset
from repro.data.rng import random_stream
from repro.data.shared_pixels import Shape
from repro.data.transform import Transform

Batch = tuple[Any, np.ndarray]  # images, as an array or on a GPU, and their labels or soft targets


class Request(NamedTuple):
    """The description of a batch that a loading process receives."""

    indices: np.ndarray  # int64 (N,); those of repetitions in an epoch are larger by multiples of the number of images
    transform: Transform
    draw: tuple[int, int] | None  # (seed, epoch) of a training batch; None: validation images, not augmented

    @property
    def shape(self) -> Shape:
        """Return the shape of the pixels."""
        return len(self.indices), self.transform.channels, self.transform.image_size, self.transform.image_size


def load(dataset: Dataset, request: Request, images: np.ndarray | None = None) -> Batch:
    """Return pixels uint8 (N, channels, S, S), in `images` if it is given, and labels int64 (N,).

    Raises ReproError for an image that cannot be decoded.
    """
    indices, transform, draw = request
    subset = dataset.val if draw is None else dataset.train
    if images is None:
        images = np.empty(request.shape, np.uint8)
    for position, number in enumerate(indices.tolist()):
        repetition, index = divmod(number, len(subset))
        key = (index, repetition) if repetition else (index,)
        rng = None if draw is None else random_stream(*draw, *key)
        image = transform.load(partial(subset.image, index), rng)
        images[position] = [np.asarray(plane) for plane in image.split()]
    return images, subset.labels[indices % len(subset)]
