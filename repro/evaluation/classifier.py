"""A trained network together with all that is needed to classify images with it."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from repro.arrays import Arrays
from repro.data import Transform
from repro.errors import ReproError
from repro.evaluation.class_names import checked_class_names, read_class_names
from repro.published.source import locate_weights
from repro.specs import Spec
from repro.training.recipe import FIELDS
from repro.training.recipe_sources import parse_values
from repro.training.resolve import values_per_channel
from repro.training.run_folder import CLASSES, read_recipe
from repro.weights.porting import read_weights

REQUIRED = ("image_size", "mean", "std")
"""Fields of Transform that have no default here: a guess would silently give wrong predictions."""

PREPARATION = [field.name for field in dataclasses.fields(Transform) if field.name in FIELDS]
"""Fields of Transform that a checkpoint's metadata, a recipe and flags can set; only some matter outside training."""


@dataclasses.dataclass(frozen=True, eq=False)
class Classifier:
    """A network with its canonical weights, the names of its classes, and the preparation of its images."""

    spec: Spec
    weights: Arrays
    classes: tuple[str, ...]  # in the order of the network's outputs
    transform: Transform
    metadata: Mapping[str, str]  # metadata of the checkpoint


def read_classifier(path: str | Path, run: Path | None = None, settings: Mapping[str, Any] | None = None) -> Classifier:
    """Return the classifier in a checkpoint: a path or a reference, as in repro.published.source.

    Settings that the file's metadata lack or have wrong are taken from the run folder `run` and from `settings`, which
    has priority: "classes" (names in the order of the outputs), and "model", "options" and the fields of Transform as
    in a Recipe.
    Raises ReproError for a file that cannot be read, and for settings that are missing or do not fit the network.
    """
    overrides = (_settings_of_run(run) if run else {}) | dict(settings or {})

    def log(line: str) -> None:
        print(line, file=sys.stderr)

    source = locate_weights(path, overrides.get("model"), log=log)
    spec, weights, metadata = read_weights(
        source.path,
        source.model,
        overrides.get("options"),
        layout=source.layout,
        metadata=source.metadata,
        log=log,
    )
    known = _settings_in_metadata(metadata, path) | overrides
    missing = [name for name in ("classes", *REQUIRED) if name not in known]
    if missing:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in missing)
        raise ReproError(
            f"{path} does not record its {', '.join(missing)}; give {flags}, or the folder of its run: --run"
        )
    classes = known["classes"]
    if len(classes) != spec.num_classes:
        raise ReproError(
            f"{path} distinguishes {spec.num_classes} classes, but {len(classes)} names are given; "
            "give the right ones: --classes FILE"
        )
    channels = known.setdefault("channels", spec.in_channels)
    if channels != spec.in_channels:
        raise ReproError(f"{path} takes images of {spec.in_channels} channels, not {channels}")
    known |= {name: values_per_channel(known[name], channels) for name in ("mean", "std")}
    # images are decoded exactly, whichever way the network was trained; this needs no further package
    transform = Transform(**{name: known[name] for name in PREPARATION if name in known and name != "decode"})
    spec.trace(transform.image_size)  # raises ReproError for a size that is too small; not every framework would
    return Classifier(spec, weights, classes, transform, metadata)


def _settings_of_run(path: Path) -> dict[str, Any]:
    """Return the model, the options, the image preparation and the classes that a run folder records."""
    values = vars(read_recipe(path))
    settings = {name: values[name] for name in ("model", "options", *PREPARATION) if values[name] is not None}
    if (path / CLASSES).is_file():  # missing in run folders of older versions
        settings["classes"] = read_class_names(path / CLASSES)
    return settings


def _settings_in_metadata(metadata: Mapping[str, str], path: str | Path) -> dict[str, Any]:
    """Return the image preparation and the classes in the metadata of the checkpoint `path`."""
    recorded = {name: _parsed(metadata[name]) for name in PREPARATION if name in metadata}
    settings = parse_values(recorded, f"the metadata of {path}")
    if "classes" in metadata:
        settings["classes"] = checked_class_names(_parsed(metadata["classes"]), path)
    return settings


def _parsed(text: str) -> Any:
    """Return the value of a JSON text, or the text itself if it is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
