"""Read any weight file as canonical weights, and write canonical weights as any weight file. Needs no framework.

The content gives the format of a file, the names of its arrays give the layout, and everything must fit the model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import repro
from repro.arrays import Arrays
from repro.errors import ReproError
from repro.interface.discovery import backend_of
from repro.specs import Spec, find_spec
from repro.weights import Log
from repro.weights.checkpoint_groups import join_groups, split_groups
from repro.weights.formats import (
    KERAS,
    SAFETENSORS,
    extensions,
    file_format,
    native_names,
    read_file,
    source_format,
    source_path,
    write_file,
)
from repro.weights.identification import WeightFile, check_format, identify, with_fitting_model
from repro.weights.layout_reader import LayoutReader
from repro.weights.layouts import AUTO, CANONICAL, Layout, layout_format, layout_named, layouts_for
from repro.weights.optimizer_state import canonical_ema, canonical_optimizer, separate_optimizer
from repro.weights.other_forms import ordinary_weights
from repro.weights.pickled_tree import left_out_line
from repro.weights.strict import check_weights


@dataclass
class Checkpoint:
    """The contents of a weight file under canonical names and with canonical axes.

    weights: all weights of the spec, in its order. ema: the same, averaged, or {}. slots: what the optimizer keeps of
    each trained weight, such as {"velocity": {...}}. steps: Adam's step count, where the file has it. metadata: where
    the weights come from and which model they are for.
    """

    spec: Spec
    weights: Arrays
    ema: Arrays = field(default_factory=dict)
    slots: dict[str, Arrays] = field(default_factory=dict)
    steps: int | None = None
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def contents(self) -> list[str]:
        """Return the names of what it holds: "weights", "ema", "optimizer/SLOT" and "optimizer/steps"."""
        names = ["weights", *(["ema"] if self.ema else []), *(f"optimizer/{slot}" for slot in self.slots)]
        return names if self.steps is None else [*names, "optimizer/steps"]


def read_checkpoint(
    path: str | Path,
    model: str | None = None,
    options: Mapping[str, object] | None = None,
    *,
    layout: str = AUTO,
    prefix: str | None = None,
    num_classes: int | None = None,
    in_channels: int | None = None,
    partial: bool = False,
    weights_only: bool = False,
    metadata: Mapping[str, str] | None = None,
    log: Log = print,
) -> Checkpoint:
    """Read a weight file bit for bit. The arrays give the numbers of classes and of input channels.

    model, options: as in find_spec; needed only where neither the metadata nor the arrays identify the model.
    layout: a publisher in repro.weights.layouts, or "auto".
    prefix: the text before the name of every weight in the file; by default it is recognised.
    num_classes: initialise a classifier of this many classes where the file has another number.
    in_channels: adapt the first convolution to this many input channels, see adapt_channels.
    partial: drop arrays that do not fit, and initialise missing weights. Initial weights are those of seed 0.
    weights_only: read neither an EMA nor an optimizer.
    metadata: added to that of the file, with priority.
    log: receives a line about everything that is recognised, skipped or initialised.
    Raises ReproError for an unreadable file, and for arrays that do not fit the model, with the name of each.
    """
    source = _read_source(Path(path), prefix, weights_only=weights_only, log=log)
    source.metadata |= dict(metadata or {})
    spec, options, file_layout = identify(source, model, options, layout, log)
    arrays = source.groups.weights
    if file_layout.options:
        options = {**file_layout.options, **options}
        spec = find_spec(spec.name, **options)
        log(f"applied the options of the network in {file_layout.publisher}: {options}")
    if file_layout.note:
        log(f"note: the network in {file_layout.publisher} {file_layout.note}; its logits differ")
    if spec.name in file_layout.lookalikes:
        lookalike = f"{file_layout.lookalikes[spec.name]} of {file_layout.publisher}"
        log(f"note: {lookalike}, which computes something else, has the same names and shapes")
    reader = LayoutReader(file_layout, spec, arrays)
    weights, spec = reader.weights(arrays, num_classes, in_channels, partial=partial, log=log)
    try:
        check_weights(weights, spec, reader.names, f"the weights of {path}")
    except ReproError as error:
        raise with_fitting_model(error, source, spec) from None
    weights = {name: weights[name] for name in spec.weights}
    if spec.num_classes != reader.spec.num_classes:
        source.metadata.pop("classes", None)  # the names of the classes that were skipped
    if spec.in_channels != reader.spec.in_channels:
        for name in ("channels", "mean", "std"):  # they describe images with the former number of channels
            source.metadata.pop(name, None)
    checkpoint = Checkpoint(spec, weights, metadata=_metadata(source, spec, options, file_layout))
    if not weights_only:
        checkpoint.ema = canonical_ema(source.groups, reader, weights, spec, log)
        checkpoint.slots, checkpoint.steps = canonical_optimizer(source.groups, reader, spec, log)
    return checkpoint


def read_weights(
    path: str | Path,
    model: str | None = None,
    options: Mapping[str, object] | None = None,
    *,
    layout: str = AUTO,
    metadata: Mapping[str, str] | None = None,
    log: Log = print,
) -> tuple[Spec, Arrays, dict[str, str]]:
    """Return the spec, the weights (copies, in C order) and the metadata of a file, read as read_checkpoint does."""
    checkpoint = read_checkpoint(path, model, options, layout=layout, weights_only=True, metadata=metadata, log=log)
    weights = {name: np.array(array, order="C") for name, array in checkpoint.weights.items()}
    return checkpoint.spec, weights, checkpoint.metadata


def write_weights(
    path: str | Path, spec: Spec, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> None:
    """Write canonical weights to a file for this repository's model, in the format that the extension names."""
    write_checkpoint(path, Checkpoint(spec, dict(arrays), metadata=dict(metadata or {})))


def write_checkpoint(path: str | Path, checkpoint: Checkpoint, to: str | None = None) -> Layout:
    """Write a checkpoint, whole or not at all, and return the layout that it was written in.

    to: as in destination_layout. An EMA or an optimizer makes the file a nested one: see
    repro.weights.checkpoint_groups.
    """
    path = Path(path)
    spec = checkpoint.spec
    layout = destination_layout(path, spec, to)
    native = native_names(layout.format)
    if layout.format == KERAS and (checkpoint.ema or checkpoint.slots):
        raise ReproError(f"{path} cannot hold an EMA or an optimizer; use --weights-only")

    def published(arrays: Arrays) -> Arrays:
        return layout.to_published(arrays, spec, native)

    contents = join_groups(
        published(checkpoint.weights),
        published(checkpoint.ema),
        {slot: published(arrays) for slot, arrays in checkpoint.slots.items()},
        checkpoint.steps,
        flat=file_format(path) == "mindspore",
    )
    write_file(path, contents, checkpoint.metadata | {"layout": layout.publisher} if checkpoint.metadata else {})
    return layout


def destination_path(path: Path, to: str | None) -> Path:
    """Return the file to write in the layout of `to`, with the extension of that layout's format if `path` has none.

    Raises ReproError for an extension that no format has.
    """
    if to is not None and not path.suffix:
        path = path.with_suffix(extensions(layout_format(backend_of(to)))[0])
    file_format(path)
    return path


def destination_layout(path: Path, spec: Spec, to: str | None) -> Layout:
    """Return the layout of the publisher `to`, by default that of this repository's model in the format of `path`.

    Raises ReproError where files with this extension cannot hold the layout or the publisher lacks the variant.
    """
    form = file_format(path)
    if to is None and form == KERAS:
        layout = next((candidate for candidate in layouts_for(spec) if candidate.format == KERAS), None)
        if layout is None:
            raise ReproError(f"Keras has no {spec.name}; give an extension other than {path.suffix}")
    else:
        layout = layout_named(to or (CANONICAL if form == SAFETENSORS else form), spec)
    check_format(layout, path, form)
    return layout


def difference_line(layout: Layout, spec: Spec) -> str | None:
    """Return a line where the network of a published layout computes something else than that of `spec`, or None."""
    if not layout.is_published:
        return None
    published = find_spec(spec.name, **layout.options).numerics
    differing = [f"{name}={value}" for name, value in published.items() if spec.numerics[name] != value]
    reasons = [f"has {', '.join(differing)}"] if differing else []
    reasons += [layout.note] if layout.note else []
    if not reasons:
        return None
    return f"note: the network in {layout.publisher} {' and '.join(reasons)}; its logits differ"


def _read_source(path: Path, prefix: str | None, *, weights_only: bool, log: Log) -> WeightFile:
    """Read all arrays of the file and, unless weights_only, of the optimizer's file next to it."""
    if path.is_dir() and (file := source_path(path)) != path:
        log(f"read {file.name} in the folder {path}")
        path = file
    arrays, metadata = read_file(path)
    if line := left_out_line(arrays):
        log(line)
    if not weights_only:
        arrays |= separate_optimizer(path, arrays, log)
    groups = split_groups(arrays, log, prefix)
    groups.weights = ordinary_weights(groups.weights, path, log)
    if not weights_only:
        groups.ema = ordinary_weights(groups.ema, path, lambda _: None)  # as the weights, about which it was logged
    return WeightFile(path, source_format(path), groups, metadata)


def _metadata(source: WeightFile, spec: Spec, options: Mapping[str, object], layout: Layout) -> dict[str, str]:
    """Return the metadata of the source, updated with where the weights come from and which model they are for."""
    digest = hashlib.sha256()
    with source.path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return source.metadata | {
        "model": spec.name,
        "options": json.dumps(dict(options), sort_keys=True),
        "num_classes": str(spec.num_classes),
        "in_channels": str(spec.in_channels),
        "ported_from": source.path.name,
        "source_layout": layout.publisher,
        "source_sha256": digest.hexdigest(),
        "repro": repro.__version__,
    }
