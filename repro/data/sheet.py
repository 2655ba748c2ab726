"""Contact sheets: images of a data set in one picture, with their classes."""

from __future__ import annotations

from pathlib import Path

from repro.data.dataset import Dataset
from repro.data.rng import random_stream
from repro.errors import ReproError
from repro.files import replacing
from repro.plots.sheets import captioned, sheet

SIDE = 160  # height and width of an image, in pixels


def draw_sheet(dataset: Dataset, path: Path, rows: int, columns: int, seed: int) -> None:
    """Write a PNG of rows x columns images, or of all if there are fewer, drawn with `seed` from both subsets.

    Raises ReproError for an image that cannot be decoded, and where `path` cannot be written.
    """
    if path.suffix.lower() != ".png":
        raise ReproError(f"{path} does not end in .png; give a PNG file")
    if not (1 <= rows <= 50 and 1 <= columns <= 50):
        raise ReproError(f"rows and columns must be from 1 to 50, not {rows} x {columns}")
    samples = [(subset, index) for subset in (dataset.train, dataset.val) for index in range(len(subset))]
    chosen = random_stream(seed).permutation(len(samples))[: rows * columns]
    tiles = []
    for choice in chosen.tolist():
        subset, index = samples[choice]
        tiles.append(captioned(subset.image(index), [dataset.classes[subset.labels[index]]], SIDE))
    with replacing(path) as temporary:
        sheet(tiles, columns).save(temporary, format="png")
