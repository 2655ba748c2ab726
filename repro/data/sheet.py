"""A sheet of images of a data set, with their classes."""

from __future__ import annotations

import logging
from pathlib import Path

from repro.data.dataset import Dataset
from repro.data.rng import stream
from repro.errors import ReproError
from repro.files import replacing

THUMBNAIL = 192  # pixels of the longer side, at most


def draw_sheet(dataset: Dataset, path: Path, rows: int, columns: int, seed: int) -> None:
    """Writes a PNG of rows x columns images (or as many as there are), drawn with `seed` from both parts.

    Raises ReproError for an image that cannot be decoded, and where `path` cannot be written.
    """
    if path.suffix.lower() != ".png":
        raise ReproError(f"{path} does not end in .png, which is what is written")
    if not (1 <= rows <= 50 and 1 <= columns <= 50):
        raise ReproError(f"a sheet has 1 to 50 rows and columns, not {rows} x {columns}")
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # fonts are looked up once
    from matplotlib.figure import Figure  # without pyplot: no display is needed and no state is kept

    samples = [(part, index) for part in (dataset.train, dataset.val) for index in range(len(part))]
    chosen = stream(seed).permutation(len(samples))[: rows * columns]
    figure = Figure(figsize=(1.6 * columns, 1.8 * rows), layout="constrained")
    places = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in places:
        axes.axis("off")
    for axes, choice in zip(places, chosen.tolist(), strict=False):
        part, index = samples[choice]
        image = part.image(index)
        image.thumbnail((THUMBNAIL, THUMBNAIL))
        axes.imshow(image)
        axes.set_title(dataset.classes[part.labels[index]], fontsize=9, parse_math=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)
