"""Any weight file <-> canonical weights: format by extension, layout by names, strictly. No framework is needed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

import repro
from repro.arrays import Arrays
from repro.errors import ReproError
from repro.specs import Spec, find_spec
from repro.weights import checkpoint_groups
from repro.weights.formats import SAFETENSORS, extensions, file_format, native_names, read_file, write_file
from repro.weights.init import initialise
from repro.weights.layouts import AUTO, CANONICAL, Layout, identify, layout_named, layouts_of, recognise
from repro.weights.optimizer_state import canonical_ema, canonical_optimizer, optimizer_beside
from repro.weights.strict import check_weights, fits_spec, mismatches

Log = Callable[[str], object]


@dataclass
class Checkpoint:
    """What a file held, in canonical names and axes.

    weights: all of the spec's, in its order; averages: the same of the exponential moving average, or nothing; slots:
    what an optimizer keeps of each trained weight, such as {"velocity": {...}}; steps: how many it made, where it has
    Adam's moments and the file says so; metadata: where it all came from.
    """

    spec: Spec
    weights: Arrays
    ema: Arrays = field(default_factory=dict)
    slots: dict[str, Arrays] = field(default_factory=dict)
    steps: int | None = None
    metadata: dict[str, str] = field(default_factory=dict)


def read_checkpoint(
    path: str | Path,
    model: str | None = None,
    options: Mapping[str, object] | None = None,
    *,
    layout: str = AUTO,
    num_classes: int | None = None,
    partial: bool = False,
    weights_only: bool = False,
    log: Log = print,
) -> Checkpoint:
    """A file's arrays, bit for bit. The numbers of classes and of input channels are read off them.

    model and options are those of find_spec, needed where the file's metadata do not give them. layout: a publisher of
    repro.weights.layouts, or "auto". num_classes: where the file has another number, its classifier makes room for a
    fresh one. partial: what does not fit is left out, and what is missing is fresh. Fresh weights are the seeded
    initialisation's. weights_only: no averages and no optimizer, whose own file is then not even read. `log` is told,
    a line each, what was recognised, passed over and made fresh.
    Raises ReproError for an unreadable file and, with all names, for arrays that do not fit the model.
    """
    path = Path(path)
    form = file_format(path)
    found, metadata = read_file(path)
    if not weights_only:
        found |= optimizer_beside(path, found, log)
    parts = checkpoint_groups.split_groups(found, log)
    parts.weights = _without_counters(parts.weights, log)
    if model is None and "model" not in metadata:
        model = identify(parts.weights, form, path)
        log(f"recognised {model}")
    if options is None:
        options = _options(path, metadata) if model in (None, metadata.get("model")) else {}
    for option in {"num_classes", "in_channels"} & options.keys():
        raise ReproError(f"{option} is read off the arrays; leave it out of the options")
    spec = find_spec(model or metadata["model"], **options)
    if layout == AUTO and "layout" in metadata:
        layout = metadata["layout"]
    if layout == AUTO:
        fitting, _ = recognise(parts.weights, spec, form)
        if fitting[0].models:  # a published one
            log(f"recognised the names of {' or '.join(dict.fromkeys(one.publisher for one in fitting))}")
        chosen = fitting[0]
    else:
        chosen = layout_named(layout, spec)
        _held_by(chosen, path, form)
    if chosen.options:
        options = {**chosen.options, **options}
        spec = find_spec(spec.name, **options)
        log(f"took the options of {chosen.publisher}'s network: {options}")
    if chosen.note:
        log(f"note: the network of {chosen.publisher} {chosen.note}; its logits differ there")
    reader = _Reader(chosen, chosen.fitted(spec, native_names(chosen.format), parts.weights))
    weights, spec = reader.weights(parts.weights, num_classes, partial, log)
    check_weights(weights, spec, reader.names, f"the weights of {path}")
    checkpoint = Checkpoint(
        spec,
        {name: weights[name] for name in spec.weights},
        metadata=metadata | _provenance(path, spec, options, chosen),
    )
    if not weights_only:
        averages = reader.some(parts.ema)
        checkpoint.ema = canonical_ema(averages, checkpoint.weights, spec, log)
        checkpoint.slots, checkpoint.steps = canonical_optimizer(parts, reader.some, reader.spec, spec, log)
    return checkpoint


def read_weights(
    path: str | Path, model: str | None = None, options: Mapping[str, object] | None = None, log: Log = print
) -> tuple[Spec, Arrays, dict[str, str]]:
    """The spec, weights and metadata of read_checkpoint, in memory of their own."""
    found = read_checkpoint(path, model, options, weights_only=True, log=log)
    return found.spec, {name: np.array(array, order="C") for name, array in found.weights.items()}, found.metadata


def destination_layout(path: Path, spec: Spec, to: str | None) -> Layout:
    """The layout that `to`, a publisher, or else the extension of `path` names.

    Raises ReproError where they do not go together or the publisher lacks the variant.
    """
    form = file_format(path)
    chosen = layout_named(to or (CANONICAL if form == SAFETENSORS else form), spec) if to or form != "keras" else None
    if chosen is None:
        chosen = next((one for one in layouts_of(spec) if one.format == form), None)
    if chosen is None:
        raise ReproError(f"Keras has no {spec.name}; give another extension than {path.suffix}")
    _held_by(chosen, path, form)
    return chosen


def write_weights(
    path: str | Path, spec: Spec, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> None:
    """Canonical arrays as a file for our model in the format that the extension names."""
    write_checkpoint(path, Checkpoint(spec, dict(arrays), metadata=dict(metadata or {})))


def write_checkpoint(path: str | Path, checkpoint: Checkpoint, to: str | None = None) -> Layout:
    """Writes the file, whole or not at all, in the layout of destination_layout, which it returns. Averages and an
    optimizer make the file a nested one: see repro.weights.checkpoint_groups."""
    path = Path(path)
    spec = checkpoint.spec
    layout = destination_layout(path, spec, to)
    native = native_names(layout.format)
    if layout.format == "keras" and (checkpoint.ema or checkpoint.slots):
        raise ReproError(f"{path} cannot hold moving averages or an optimizer; use --weights-only")

    def named(arrays: Arrays) -> Arrays:
        return layout.published(arrays, spec, native)

    contents = checkpoint_groups.join_groups(
        named(checkpoint.weights),
        named(checkpoint.ema),
        {slot: named(arrays) for slot, arrays in checkpoint.slots.items()},
        checkpoint.steps,
        flat=file_format(path) == "mindspore",
    )
    write_file(path, contents, checkpoint.metadata | {"layout": layout.publisher} if checkpoint.metadata else {})
    return layout


class _Reader:
    """Arrays of one layout as canonical ones."""

    def __init__(self, layout: Layout, spec: Spec) -> None:
        self.layout, self.spec, self.native = layout, spec, native_names(layout.format)
        self.names = layout.names(spec, self.native)  # canonical -> the publisher's
        self.canonical = {theirs: name for name, theirs in self.names.items()}

    def some(self, arrays: Arrays) -> Arrays:
        """Those that have a canonical name, turned."""
        found = {self.canonical[name]: array for name, array in arrays.items() if name in self.canonical}
        weights = self.spec.weights
        return {name: self.layout.canonical(name, array, weights[name], self.native) for name, array in found.items()}

    def weights(self, arrays: Arrays, num_classes: int | None, partial: bool, log: Log) -> tuple[Arrays, Spec]:
        """All that have a canonical name, others under their own, and fresh ones where these are asked for."""
        known = self.some(arrays)
        others = {name: array for name, array in arrays.items() if name not in self.canonical}
        if both := known.keys() & others.keys():
            raise ReproError(f"{min(both)} is there twice, under the name of {self.layout.publisher} and its own")
        spec, found = self.spec, known | others
        fresh = []
        if num_classes is not None and num_classes != spec.num_classes:
            classes, spec = spec.num_classes, replace(spec, num_classes=num_classes)
            fresh = [
                name for name in (spec.classifier, spec.classifier.replace("weight", "bias")) if name in spec.weights
            ]
            log(f"left out the classifier of {classes} classes: {', '.join(fresh)}")
        if partial:
            unfit = list(mismatches({name: found[name] for name in found if name not in fresh}, spec.weights))
            dropped = [name for name, array in found.items() if not fits_spec(name, array, spec)]
            if not set(found) - set(dropped):
                raise ReproError(f"nothing in the file fits {spec.name}; is it another model?")
            fresh = [name for name in spec.weights if name in fresh or name not in found or name in dropped]
            found = {name: array for name, array in found.items() if name not in dropped}
            for complaint in unfit:
                log(f"partial: {complaint}")
        if fresh:
            log(f"made {len(fresh)} of {len(spec.weights)} arrays fresh: {', '.join(fresh)}")
            found |= {name: array for name, array in initialise(spec, 0).items() if name in fresh}
        return found, spec


def _held_by(layout: Layout, path: Path, form: str) -> None:
    """Raises ReproError where files of the format cannot hold the layout."""
    if form not in (layout.format, SAFETENSORS) or (form == SAFETENSORS and layout.format == "keras"):
        wanted = ", ".join(extensions(layout.format))
        raise ReproError(f"{path} is a file of {form}, not of {layout.publisher}, whose files end in {wanted}")


def _provenance(source: Path, spec: Spec, options: Mapping[str, object], layout: Layout) -> dict[str, str]:
    """What a canonical file says about where it came from and which model it is for."""
    digest = hashlib.sha256()
    with source.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return {
        "model": spec.name,
        "options": json.dumps(dict(options), sort_keys=True),
        "num_classes": str(spec.num_classes),
        "in_channels": str(spec.in_channels),
        "ported_from": source.name,
        "source_layout": layout.publisher,
        "source_sha256": digest.hexdigest(),
        "repro": repro.__version__,
    }


def _options(path: Path, metadata: Mapping[str, str]) -> dict[str, object]:
    try:
        options = json.loads(metadata.get("options", "{}"))
    except (ValueError, RecursionError) as error:
        raise ReproError(f"the options in the metadata of {path} are not JSON; give --model and --option") from error
    if not isinstance(options, dict):
        raise ReproError(f"the options in the metadata of {path} are not named; give --model and --option")
    return options


def _without_counters(arrays: Arrays, log: Log) -> Arrays:
    """Without the whole-number scalars that frameworks keep beside weights, such as torch's num_batches_tracked."""
    counters = [name for name, array in arrays.items() if array.size == 1 and np.issubdtype(array.dtype, np.integer)]
    if counters:
        log(f"left out {len(counters)} whole-number scalars, which are no weights: {counters[0]}, ...")
    return {name: array for name, array in arrays.items() if name not in counters}
