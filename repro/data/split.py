"""Copies of a folder of classes as train/ and val/."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from repro.choices import EVERY_FIFTH
from repro.data.dataset import Dataset, open_dataset
from repro.data.idx import idx_prefixes
from repro.data.parquet import find_parquet
from repro.data.shards import find_shards
from repro.errors import ReproError
from repro.files import filling


def write_split(source: Path, out: Path, fraction: float, seed: int, *, link: bool = False) -> Dataset:
    """Copy the images of a folder of CLASS/IMAGE to out/train/CLASS/IMAGE and out/val/CLASS/IMAGE.

    Returns the data set of `source`, split. What it ignores is left out.
    fraction: the fraction of each class that goes to val, drawn with `seed` as open_dataset draws it.
    link: make symbolic links instead of copies.
    Raises ReproError, and leaves `out` as it was, unless it is new or empty and every image can be read.
    """
    if source.is_file() or idx_prefixes(source) or find_shards(source) or find_parquet(source):
        raise ReproError(
            f"{source} is not a folder of CLASS/IMAGE, and its images cannot be copied; train on it as it is"
        )
    if not 0 < fraction < 1:
        raise ReproError(f"--fraction must be between 0 and 1, such as 0.3, not {fraction:g}")
    if (source_split := open_dataset(source).split) != EVERY_FIFTH:
        raise ReproError(f"{source} is already split into {source_split}; train on it as it is")
    dataset = open_dataset(source, split=fraction, seed=seed)
    if out.resolve().is_relative_to(source.resolve()):
        raise ReproError(f"{out} is inside {source}, and would become a class of it; give a folder elsewhere")
    subsets = {"train": dataset.train, "val": dataset.val}
    pairs = [(f"{folder}/{name}", source / name) for folder, subset in subsets.items() for name in subset.names]
    for _, file in pairs:
        if not (file.is_file() and os.access(file, os.R_OK)):
            raise ReproError(f"cannot read {file}; remove it, or change its permissions")
    with filling(out) as folder:
        for name, file in pairs:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            if link:
                (folder / name).symlink_to(file.resolve())
            else:
                shutil.copyfile(file, folder / name)
    return dataset
