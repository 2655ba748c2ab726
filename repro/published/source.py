"""Weight files as commands receive them: the path of a file, or the reference PUBLISHER:NAME of a published one."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from repro.errors import ReproError, unknown
from repro.published.entry import PUBLISHERS, PublishedWeights
from repro.published.lookup import fetch, find, find_in_table, imagenet_classes, is_reference, table
from repro.weights import Log
from repro.weights.layouts import AUTO


@dataclass(frozen=True, kw_only=True)
class WeightSource:
    """A local weight file, and arguments of repro.weights.porting.read_checkpoint that belong to it.

    model: the variant, or None if neither the user nor the publisher names it.
    metadata: texts to add to the metadata of every file that is written from this one.
    """

    path: Path
    model: str | None = None
    layout: str = AUTO
    metadata: dict[str, str] = field(default_factory=dict)


def locate_weights(source: str | Path, model: str | None = None, layout: str = AUTO, log: Log = print) -> WeightSource:
    """Return the weight file of a path or of a reference. A published file that is not cached is downloaded first.

    A path whose name and hash are those of a published file stands for its reference.
    model, layout: as given by the user; a publisher knows both. log: receives a line about a recognised file.
    Raises ReproError for an unknown publisher or name, for a model or a layout that contradicts the publisher, and
    where the file cannot be downloaded.
    """
    if not is_reference(source):
        _check_publisher(str(source))
        recognised = _published_file(Path(source))
        if recognised is None or model not in (None, recognised.variant) or layout not in (AUTO, recognised.publisher):
            return WeightSource(path=Path(source), model=model, layout=layout)
        log(f"recognised {recognised.reference} by its name and hash")
        return _source_of(Path(source), recognised)
    entry = find(str(source))
    if model not in (None, entry.variant):
        raise ReproError(f"{source} is {entry.variant}, not {model}; leave --model out, or give another reference")
    if layout not in (AUTO, entry.publisher):
        raise ReproError(f"{source} has the layout of {entry.publisher}, not of {layout}; leave --from out")
    return _source_of(fetch(entry), entry)


def _source_of(path: Path, entry: PublishedWeights) -> WeightSource:
    """Return a published file with the model, layout and metadata that its publisher gives."""
    return WeightSource(path=path, model=entry.variant, layout=entry.publisher, metadata=published_metadata(entry))


def _published_file(path: Path) -> PublishedWeights | None:
    """Return the entry whose file this is, by name and hash."""
    from repro.published.download import difference

    entries = [entry for entry in table() if entry.file == path.name and (entry.sha256 or entry.md5)]
    if not entries or not path.is_file():
        return None
    same = (entry for entry in entries if not difference(path, sha256=entry.sha256, md5=entry.md5, size=entry.size))
    return next(same, None)


def published_metadata(entry: PublishedWeights) -> dict[str, str]:
    """Return the publisher's metadata of the weights, under the keys that the weight files of runs have.

    They are the reference, and if known, the preparation of images and the names of the classes.
    """
    metadata = {"published_as": entry.reference}
    if entry.license:
        metadata["license"] = entry.license
    if entry.preprocessing:
        preparation = {"resize": "crop", **entry.preprocessing}
        metadata |= {name: json.dumps(value) for name, value in preparation.items()}
    if entry.classes == len(imagenet_classes()):
        metadata["classes"] = json.dumps(imagenet_classes())
    return metadata


def published_variant(source: str | Path) -> str | None:
    """Return the variant of a reference; None for a path. Raises ReproError for an unknown publisher or name."""
    return find_in_table(str(source)).variant if is_reference(source) else None


def _check_publisher(source: str) -> None:
    """Raise ReproError for a text that is not the path of a file but looks like a reference."""
    match = re.fullmatch(r"([A-Za-z][\w.]+):([\w.(=)-]+)", source)  # neither a drive's letter nor a folder
    if match and not Path(source).exists() and not re.search(r"\.(safetensors|pth?|pdparams|ckpt|h5|keras)$", source):
        raise unknown("publisher", match[1], PUBLISHERS)
