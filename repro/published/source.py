"""Weight files as commands receive them: the path of a file, or the reference PUBLISHER:NAME of a published one."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from repro.errors import ReproError, unknown
from repro.published.entry import PUBLISHERS, PublishedWeights
from repro.published.lookup import fetch, find, find_in_table, imagenet_classes, is_reference
from repro.weights.layouts import AUTO


@dataclass(frozen=True, kw_only=True)
class WeightSource:
    """A local weight file, with what is known about it besides its content: see repro.weights.porting.read_checkpoint.

    model: the variant, or None if neither the user nor the publisher names it.
    metadata: text that belongs into the metadata of whatever is written from the file.
    """

    path: Path
    model: str | None = None
    layout: str = AUTO
    metadata: dict[str, str] = field(default_factory=dict)


def locate_weights(source: str | Path, model: str | None = None, layout: str = AUTO) -> WeightSource:
    """Return the weight file of a path or of a reference. A published file that is not cached is downloaded first.

    model, layout: as given by the user; a publisher knows both.
    Raises ReproError for an unknown publisher or name, for a model or a layout that contradicts the publisher, and
    where the file cannot be downloaded.
    """
    if not is_reference(source):
        _check_publisher(str(source))
        return WeightSource(path=Path(source), model=model, layout=layout)
    entry = find(str(source))
    if model not in (None, entry.variant):
        raise ReproError(f"{source} is {entry.variant}, not {model}; leave --model out, or give another reference")
    if layout not in (AUTO, entry.publisher):
        raise ReproError(f"{source} has the layout of {entry.publisher}, not of {layout}; leave --from out")
    return WeightSource(
        path=fetch(entry), model=entry.variant, layout=entry.publisher, metadata=published_metadata(entry)
    )


def published_metadata(entry: PublishedWeights) -> dict[str, str]:
    """Return what the publisher says about the weights, under the keys that the weight files of runs have.

    These are the preparation of images and the names of the classes, as far as they are known, and the reference.
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
