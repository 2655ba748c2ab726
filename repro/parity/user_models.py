"""The ladder for models that are not ours: scrambled weights are carried across by a mapping, and the modules that own
them are compared, under the names of the first model."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np

from repro.errors import ReproError
from repro.interface.discovery import SHIPPED
from repro.parity import mapping
from repro.parity.forward import BATCH, DOUBLE, TRAIN_DOUBLE, evaluated, in_order, trained
from repro.parity.judge import Arrays, Question, Workers, judge
from repro.parity.mapping import Entry, Found
from repro.parity.record import Record
from repro.specs import STATISTICS, Weight, WeightKind
from repro.specs.user_model import UserModelSpec
from repro.weights.init import random_weights
from repro.workers.client import ask
from repro.workers.user_models import renamed

Names = dict[str, dict[str, str]]  # backend -> the first model's name of a weight or module -> its own
Say = Callable[[str], object]


@dataclass(frozen=True)
class Side:
    """A model as its worker describes it. events: what runs, in order; output: the shape of what comes out."""

    entries: list[Entry]
    momentum: float
    events: list[str]
    output: tuple[int, ...]


@dataclass(frozen=True)
class Adopted:
    """Models whose weights are mapped. spec: of the first, in running order; events: what all of them tell on the way
    forward; shape: of the input."""

    workers: Workers
    spec: UserModelSpec
    names: Names
    events: list[str]
    shape: tuple[int, ...]


def adopt(workers: Workers, sources: Mapping[str, str], shape: tuple[int, ...], file: Path | None, say: Say) -> Adopted:
    """Makes the models by their functions "MODULE:FUNCTION" and maps their weights, and says how. The first worker's
    model lends its names. file: of the mapping, which is written where it is not there, and otherwise believed.

    Raises ReproError where weights have no counterpart.
    """
    sides = {backend: _side(workers, backend, sources[backend], shape) for backend in workers}
    first, *others = workers
    ours = sides[first].entries
    found = _mapping({backend: sides[backend].entries for backend in workers}, file)
    _report(ours, found, sides, say)
    faults = [
        f"{backend}: {text}"
        for backend in others
        for text in mapping.complaints(
            ours, sides[backend].entries, {name: f.name for name, f in found[backend].items()}
        )
    ]
    if faults:
        more = f" and {len(faults) - 8} more" if len(faults) > 8 else ""
        remedy = f"correct {file}" if file else "give --mapping FILE, and correct what is written there"
        raise ReproError(f"weights are not mapped: {'; '.join(faults[:8])}{more}; {remedy}")
    names = {first: {entry.name: entry.name for entry in ours} | {e.layer: e.layer for e in ours if e.layer}}
    for backend in others:
        weights = {name: f.name for name, f in found[backend].items() if f.name is not None}
        names[backend] = weights | _layers(ours, sides[backend].entries, weights)
    told = [
        {renamed(event, {own: name for name, own in names[backend].items()}) for event in sides[backend].events}
        for backend in workers
    ]
    output = sides[first].output
    spec = UserModelSpec(
        name=sources[first],
        num_classes=output[1] if len(output) == 2 else 1,
        norm_momentum=sides[first].momentum,
        weights_by_name={entry.name: Weight(entry.shape, cast(WeightKind, entry.kind), entry.groups) for entry in ours},
        owners={entry.name: entry.layer for entry in ours},
    )
    events = [event for event in sides[first].events if all(event in events for events in told)]
    return Adopted(workers, spec, names, events, shape)


def _side(workers: Workers, backend: str, source: str, shape: tuple[int, ...]) -> Side:
    worker = workers[backend]
    described, _ = worker.request("adopt", source=source, folder=str(Path.cwd()))
    order, arrays = worker.request("forward", _noise(shape, 0, 0), every_module=True)
    entries = mapping.in_running_order(described["weights"], order)
    if not entries:
        raise ReproError(f"{source} has no weights; there is nothing to compare it by")
    return Side(entries, described["momentum"], order, arrays["logits"].shape)


def _mapping(entries: Mapping[str, Sequence[Entry]], file: Path | None) -> dict[str, dict[str, Found]]:
    """From the file, if it is there, or as it seems, which is then written."""
    first, *others = entries
    if file and file.exists():
        theirs = {backend: entries[backend] for backend in others}
        read = mapping.read(file, entries[first], theirs, SHIPPED)
        return {
            backend: {entry.name: Found(section.get(entry.name)) for entry in entries[first]}
            for backend, section in read.items()
        }
    found = {backend: mapping.align(entries[first], entries[backend]) for backend in others}
    if file:
        mapping.write(file, first, found)
    return found


def _report(ours: list[Entry], found: Mapping[str, Mapping[str, Found]], sides: Mapping[str, Side], say: Say) -> None:
    """A line for each weight."""
    first = next(iter(sides))
    rows = [[first, "shape", "kind", *found]]
    for entry in ours:
        names = [found[backend][entry.name] for backend in found]
        cells = [f"{f.name or 'NO COUNTERPART'}{f'  ? {f.doubt}' * bool(f.doubt)}" for f in names]
        rows.append([entry.name, "x".join(map(str, entry.shape)), entry.kind, *cells])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        say("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
    for backend, mapped in found.items():
        used = {f.name for f in mapped.values()}
        for entry in sides[backend].entries:
            if entry.name not in used:
                say(f"{backend} alone has {entry}")
    if any(entry.kind == "other" for entry in ours):
        say("other: of layers that are not known here; their axes are taken as they are")


def _layers(ours: Sequence[Entry], theirs: Sequence[Entry], names: Mapping[str, str]) -> dict[str, str]:
    """Our modules that own weights -> theirs, one for one."""
    own = {entry.name: entry.layer for entry in theirs}
    pairs: dict[str, str] = {}
    for entry in ours:
        layer = own[names[entry.name]]
        if entry.layer and layer and entry.layer not in pairs and layer not in pairs.values():
            pairs[entry.layer] = layer
    return pairs


def fill(adopted: Adopted, seed: int, say: Say) -> Arrays:
    """Scrambled weights, which all models get: those that a model starts from, such as means of 0 and variances of 1,
    would not show what is exchanged."""
    weights = random_weights(adopted.spec, seed)
    statistics = [name for name, weight in adopted.spec.weights.items() if weight.kind in STATISTICS]
    for backend, worker in adopted.workers.items():
        events = adopted.events + statistics
        worker.request("fill", weights, names=adopted.names[backend], events=events, seed=seed)
        reason, _ = worker.request("doubles", _noise(adopted.shape, seed, 0))
        if reason:
            say(f"{backend} is not compared in float64: {reason}")
    return weights


def climb(adopted: Adopted, rungs: Sequence[int], weights: Arrays, seed: int) -> Iterator[Record]:
    """The records of rungs among 0, 1, 2 and 4."""
    spec, workers = adopted.spec, adopted.workers
    first, *_ = workers
    if 4 in rungs and spec.num_classes < 2:
        raise ReproError(f"rung 4 needs logits (N, classes) from {spec.name}; leave it out: --rungs 0,1,2")
    batch = (max(adopted.shape[0], BATCH), *adopted.shape[1:])
    questions = {
        1: Question("", partial(_noise, adopted.shape, seed), "images", evaluated, DOUBLE),
        2: Question("", partial(_noise, batch, seed), "images", trained, TRAIN_DOUBLE),
        4: Question(
            "", partial(_labelled, batch, spec.num_classes, seed), "images", partial(_gradients, spec), TRAIN_DOUBLE
        ),
    }
    for rung in rungs:
        if not rung:
            for backend in workers:
                text = f"{len(spec.weights)} weights, {spec.params:,} of their numbers trained"
                yield Record(spec.name, 0, backend, first, "equal", 0.0, 0.0, "", text)
            continue
        for record in judge(spec, rung, workers, [questions[rung]], weights):
            names = adopted.names[record.backend]
            yield replace(record, where=_both(record, names), reason=f"{record.reason}{_others(record)}")


def _both(record: Record, names: Mapping[str, str]) -> str:
    """The place, and what it is in the other model's names."""
    theirs = re.sub(r"[\w.]+", lambda match: names.get(match[0], match[0]), record.where)
    return record.where if theirs == record.where else f"{record.where}, in {record.backend} {theirs}"


def _others(record: Record) -> str:
    """What else diverges: whoever knows the first, such as Paddle's biased variance, asks what remains."""
    off = [where for where, error, allowed in record.profile if error is None or error > allowed]
    if not record.diverges or not off:
        return ""
    return f"; off in all: {', '.join(off[:4])}{f' and {len(off) - 4} more' * (len(off) > 4)}, of {len(record.profile)}"


def _noise(shape: tuple[int, ...], seed: int, attempt: int) -> Arrays:
    return {"images": np.random.default_rng([*shape, seed, attempt]).standard_normal(shape, np.float32)}


def _labelled(shape: tuple[int, ...], classes: int, seed: int, attempt: int) -> Arrays:
    images = _noise(shape, seed, attempt)["images"]
    return {
        "images": images[None],
        "targets": np.random.default_rng([seed, attempt]).integers(0, classes, (1, shape[0])),
    }


def _gradients(
    spec: UserModelSpec, workers: Workers, given: Arrays, double: bool, every_module: bool
) -> dict[str, Arrays]:
    """Of every weight, as rung 4 of our own models has them: SGD's velocity after a step of no length. A weight that a
    framework does not train has none."""
    settings = {"momentum": 0.9, "weight_decay": 0.0, "compiled": False}
    found = in_order(ask(workers, "train", given, settings=settings, rates=[0.0], double=double))
    trainable = [(name, weight.shape) for name, weight in spec.weights.items() if weight.kind not in STATISTICS]
    none = partial(np.zeros, dtype=np.float64 if double else np.float32)
    return {
        backend: {
            f"gradient of {name}": arrays[key] if (key := f"velocity/{name}") in arrays else none(shape)
            for name, shape in reversed(trainable)
        }
        for backend, arrays in found.items()
    }
