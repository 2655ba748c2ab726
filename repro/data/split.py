"""A folder of classes, written again as train/ and val/."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from repro.data.dataset import EVERY_FIFTH, Dataset, open_dataset
from repro.data.idx import sets
from repro.errors import ReproError
from repro.files import filling


def write_split(source: Path, out: Path, fraction: float, seed: int, *, link: bool = False) -> Dataset:
    """Copies the images of a folder of CLASS/IMAGE to out/train/CLASS/IMAGE and out/val/CLASS/IMAGE, or makes
    symbolic links to them; returns what was split. Files that are no images are left out.

    fraction: of each class, goes to val, drawn with `seed` as open_dataset draws it.
    Raises ReproError, and leaves `out` as it was, unless it is new or empty and every image can be read.
    """
    if source.is_file() or sets(source):
        raise ReproError(
            f"{source} is no folder of CLASS/IMAGE, whose files could be copied; it can be trained on as it is"
        )
    if not 0 < fraction < 1:
        raise ReproError(f"--fraction must be between 0 and 1, such as 0.3, not {fraction:g}")
    if (own := open_dataset(source).split) != EVERY_FIFTH:
        raise ReproError(f"{source} has {own} of its own: it is split already")
    dataset = open_dataset(source, split=fraction, seed=seed)
    if out.resolve().is_relative_to(source.resolve()):
        raise ReproError(f"{out} is inside {source}, and would become a class of it; give a folder elsewhere")
    pairs = [(f"{side}/{name}", source / name)
             for side, part in (("train", dataset.train), ("val", dataset.val)) for name in part.names]  # fmt: skip
    for _, file in pairs:
        if not (file.is_file() and os.access(file, os.R_OK)):
            raise ReproError(f"cannot read {file}; take it out, or give yourself the permission")
    with filling(out) as folder:
        for name, file in pairs:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            if link:
                (folder / name).symlink_to(file.resolve())
            else:
                shutil.copyfile(file, folder / name)
    return dataset
