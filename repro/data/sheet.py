"""A sheet of images of a data set, with their classes."""

from __future__ import annotations

from pathlib import Path

from repro.data.dataset import Dataset
from repro.data.rng import stream
from repro.errors import ReproError
from repro.files import replacing
from repro.plots.sheets import captioned, sheet

SIDE = 160  # of an image, in pixels


def draw_sheet(dataset: Dataset, path: Path, rows: int, columns: int, seed: int) -> None:
    """Writes a PNG of rows x columns images (or as many as there are), drawn with `seed` from both parts.

    Raises ReproError for an image that cannot be decoded, and where `path` cannot be written.
    """
    if path.suffix.lower() != ".png":
        raise ReproError(f"{path} does not end in .png, which is what is written")
    if not (1 <= rows <= 50 and 1 <= columns <= 50):
        raise ReproError(f"a sheet has 1 to 50 rows and columns, not {rows} x {columns}")
    samples = [(part, index) for part in (dataset.train, dataset.val) for index in range(len(part))]
    chosen = stream(seed).permutation(len(samples))[: rows * columns]
    tiles = []
    for choice in chosen.tolist():
        part, index = samples[choice]
        tiles.append(captioned(part.image(index), [dataset.classes[part.labels[index]]], SIDE))
    with replacing(path) as temporary:
        sheet(tiles, columns).save(temporary, format="png")
