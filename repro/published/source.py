"""Weight files as commands receive them: the path of a file, or the reference PUBLISHER:NAME of a published one."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from repro.errors import ReproError, unknown
from repro.published.entry import PUBLISHERS
from repro.published.lookup import fetch, find, find_in_table, is_reference
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
    path = fetch(entry)
    return WeightSource(
        path=path, model=entry.variant, layout=entry.publisher, metadata={"published_as": entry.reference}
    )


def published_variant(source: str | Path) -> str | None:
    """Return the variant of a reference; None for a path. Raises ReproError for an unknown publisher or name."""
    return find_in_table(str(source)).variant if is_reference(source) else None


def _check_publisher(source: str) -> None:
    """Raise ReproError for a text that is not the path of a file but looks like a reference."""
    match = re.fullmatch(r"([A-Za-z][\w.]+):([\w.(=)-]+)", source)  # neither a drive's letter nor a folder
    if match and not Path(source).exists() and not re.search(r"\.(safetensors|pth?|pdparams|ckpt|h5|keras)$", source):
        raise unknown("publisher", match[1], PUBLISHERS)
