"""The ladder for user models: models that are not from this repository, one per framework.

A mapping pairs their weights. All of them get the same random weights, and the modules that own weights are
compared under the names of the first model.
"""

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
from repro.parity.forward_rungs import (
    EVALUATION_FLOAT64_FACTOR,
    TRAIN_BATCH,
    TRAINING_FLOAT64_FACTOR,
    ordered_arrays,
    run_evaluation,
    run_training_mode,
)
from repro.parity.judge import GRADIENT_PREFIX, Arrays, Computation, Workers, judge
from repro.parity.mapping import (
    Counterpart,
    WeightEntry,
    align_weights,
    mapping_errors,
    order_by_execution,
    read_mapping,
    write_mapping,
)
from repro.parity.record import Record
from repro.specs import STATISTICS, Weight, WeightKind
from repro.specs.user_model import UserModelSpec
from repro.weights.init import random_weights
from repro.workers.client import request_all
from repro.workers.user_code import rename_result

MAX_ERRORS_SHOWN, MAX_PLACES_SHOWN = 8, 4
SharedNames = dict[str, dict[str, str]]  # backend -> name of a weight or module in the first model -> its own name
Print = Callable[[str], object]


@dataclass(frozen=True)
class ModelDescription:
    """A user model as its worker describes it.

    entries: its weights in the order of execution; momentum: of its normalisations; results: the names of everything
    that a forward pass computes, in that order; output: the shape of the output.
    """

    entries: list[WeightEntry]
    momentum: float
    results: list[str]
    output: tuple[int, ...]


@dataclass(frozen=True)
class UserModels:
    """User models whose weights are paired.

    spec: of the first model, with weights in the order of execution; names: what every model calls them; results: the
    results of a forward pass that all models have, under shared names; shape: of the input.
    """

    workers: Workers
    spec: UserModelSpec
    names: SharedNames
    results: list[str]
    shape: tuple[int, ...]


def load_user_models(
    workers: Workers, sources: Mapping[str, str], shape: tuple[int, ...], mapping_file: Path | None, print_line: Print
) -> UserModels:
    """Build a model in each worker with its function "MODULE:FUNCTION", pair their weights and print the pairs.

    The shared names are those of the first worker's model. mapping_file: read if it exists, and otherwise written.

    Raises ReproError if a weight has no counterpart.
    """
    first, *others = workers
    descriptions = {backend: _describe_model(workers, backend, sources[backend], shape) for backend in workers}
    entries = {backend: description.entries for backend, description in descriptions.items()}
    counterparts = _pair_weights(entries, mapping_file)
    for line in _mapping_table(entries, counterparts):
        print_line(line)
    mappings = {
        backend: {name: counterpart.name for name, counterpart in of_backend.items()}
        for backend, of_backend in counterparts.items()
    }
    errors = [
        f"{backend}: {error}"
        for backend in others
        for error in mapping_errors(entries[first], entries[backend], mappings[backend])
    ]
    if errors:
        hidden = len(errors) - MAX_ERRORS_SHOWN
        more = f" and {hidden} more" if hidden > 0 else ""
        remedy = f"correct {mapping_file}" if mapping_file else "give --mapping FILE, and correct what is written there"
        raise ReproError(f"weights cannot be paired: {'; '.join(errors[:MAX_ERRORS_SHOWN])}{more}; {remedy}")
    names = {first: {name: name for entry in entries[first] for name in (entry.name, entry.layer) if name}}
    for backend in others:
        weight_names = {name: other for name, other in mappings[backend].items() if other is not None}
        names[backend] = weight_names | _pair_layers(entries[first], entries[backend], weight_names)
    shared_results = []
    for backend, description in descriptions.items():
        shared_names = {own_name: name for name, own_name in names[backend].items()}
        shared_results.append({rename_result(result, shared_names) for result in description.results})
    reference = descriptions[first]
    spec = UserModelSpec(
        name=sources[first],
        num_classes=reference.output[1] if len(reference.output) == 2 else 1,
        norm_momentum=reference.momentum,
        weights_by_name={
            entry.name: Weight(entry.shape, cast(WeightKind, entry.kind), entry.groups) for entry in reference.entries
        },
        owners={entry.name: entry.layer for entry in reference.entries},
    )
    results = [result for result in reference.results if all(result in of_model for of_model in shared_results)]
    return UserModels(workers, spec, names, results, shape)


def _describe_model(workers: Workers, backend: str, source: str, shape: tuple[int, ...]) -> ModelDescription:
    worker = workers[backend]
    description, _ = worker.request("create_user_model", source=source, folder=str(Path.cwd()))
    results, arrays = worker.request("forward", _random_images(shape, 0, 0), every_module=True)
    entries = order_by_execution(description["weights"], results)
    if not entries:
        raise ReproError(f"{source} has no weights, so it cannot be compared")
    return ModelDescription(entries, description["momentum"], results, arrays["logits"].shape)


def _pair_weights(
    entries: Mapping[str, Sequence[WeightEntry]], mapping_file: Path | None
) -> dict[str, dict[str, Counterpart]]:
    """The counterparts of the first model's weights in each other model, from the file if it exists."""
    first, *others = entries
    if mapping_file and mapping_file.exists():
        mappings = read_mapping(
            mapping_file, entries[first], {backend: entries[backend] for backend in others}, SHIPPED
        )
        return {
            backend: {entry.name: Counterpart(mapping.get(entry.name)) for entry in entries[first]}
            for backend, mapping in mappings.items()
        }
    counterparts = {backend: align_weights(entries[first], entries[backend]) for backend in others}
    if mapping_file:
        write_mapping(mapping_file, first, counterparts)
    return counterparts


def _mapping_table(
    entries: Mapping[str, Sequence[WeightEntry]], counterparts: Mapping[str, Mapping[str, Counterpart]]
) -> Iterator[str]:
    """A line for each weight of the first model, and for each weight that only another model has."""
    first = next(iter(entries))
    rows = [[first, "shape", "kind", *counterparts]]
    for entry in entries[first]:
        cells = [_counterpart_cell(of_backend[entry.name]) for of_backend in counterparts.values()]
        rows.append([entry.name, "x".join(map(str, entry.shape)), entry.kind, *cells])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
    for backend, of_backend in counterparts.items():
        used = {counterpart.name for counterpart in of_backend.values()}
        for entry in entries[backend]:
            if entry.name not in used:
                yield f"only {backend} has {entry}"
    if any(entry.kind == "other" for entry in entries[first]):
        yield "other: a weight of an unknown kind of layer, which is loaded without reordering its axes"


def _counterpart_cell(counterpart: Counterpart) -> str:
    name = counterpart.name or "NO COUNTERPART"
    return f"{name}  ? {counterpart.doubt}" if counterpart.doubt else name


def _pair_layers(
    reference: Sequence[WeightEntry], entries: Sequence[WeightEntry], weight_names: Mapping[str, str]
) -> dict[str, str]:
    """The pairs of modules that own weights which are counterparts, each module in one pair at most."""
    layers = {entry.name: entry.layer for entry in entries}
    pairs: dict[str, str] = {}
    for entry in reference:
        layer = layers[weight_names[entry.name]]
        if entry.layer and layer and entry.layer not in pairs and layer not in pairs.values():
            pairs[entry.layer] = layer
    return pairs


def load_random_weights(models: UserModels, seed: int, print_line: Print) -> Arrays:
    """Load the same random weights into all models and return them. Print which model has no float64.

    The weights that a model starts from, such as means of 0 and variances of 1, would hide weights that are swapped.
    """
    weights = random_weights(models.spec, seed)
    statistics = [name for name, weight in models.spec.weights.items() if weight.kind in STATISTICS]
    for backend, worker in models.workers.items():
        results = models.results + statistics
        worker.request("load_user_weights", weights, names=models.names[backend], results=results, seed=seed)
        reason, _ = worker.request("check_float64", _random_images(models.shape, seed, 0))
        if reason:
            print_line(f"{backend} is not compared in float64: {reason}")
    return weights


def run_user_rungs(models: UserModels, rungs: Sequence[int], weights: Arrays, seed: int) -> Iterator[Record]:
    """Yield the records of rungs among 0, 1, 2 and 4.

    Raises ReproError for rung 4 if the output of the model is not logits (N, classes).
    """
    spec, workers = models.spec, models.workers
    first, *_ = workers
    if 4 in rungs and spec.num_classes < 2:
        raise ReproError(f"rung 4 needs logits (N, classes) from {spec.name}; leave it out: --rungs 0,1,2")
    train_shape = (max(models.shape[0], TRAIN_BATCH), *models.shape[1:])
    computations = {
        1: Computation(
            "", partial(_random_images, models.shape, seed), "images", run_evaluation, EVALUATION_FLOAT64_FACTOR
        ),
        2: Computation(
            "", partial(_random_images, train_shape, seed), "images", run_training_mode, TRAINING_FLOAT64_FACTOR
        ),
        4: Computation(
            "",
            partial(_random_batch, train_shape, spec.num_classes, seed),
            "images",
            partial(_run_gradients, spec),
            TRAINING_FLOAT64_FACTOR,
        ),
    }
    for rung in rungs:
        if rung == 0:
            for backend in workers:
                reason = f"{len(spec.weights)} weights with {spec.params:,} parameters"
                yield Record(spec.name, 0, backend, first, "equal", 0.0, 0.0, "", reason)
            continue
        for record in judge(spec, rung, workers, [computations[rung]], weights):
            where = _place_in_both_models(record, models.names[record.backend])
            yield replace(record, where=where, reason=record.reason + _other_divergences(record))


def _place_in_both_models(record: Record, names: Mapping[str, str]) -> str:
    """The place of a record under its shared name, and under the model's own if that differs."""
    own_place = re.sub(r"[\w.]+", lambda match: names.get(match[0], match[0]), record.where)
    return record.where if own_place == record.where else f"{record.where}, in {record.backend} {own_place}"


def _other_divergences(record: Record) -> str:
    """All places that diverge, for users who know the first one already, such as Paddle's biased variance."""
    places = [where for where, error, tolerance in record.profile if error is None or error > tolerance]
    if not record.diverges or not places:
        return ""
    hidden = len(places) - MAX_PLACES_SHOWN
    more = f" and {hidden} more" if hidden > 0 else ""
    return f"; all that diverge: {', '.join(places[:MAX_PLACES_SHOWN])}{more}, of {len(record.profile)}"


def _random_images(shape: tuple[int, ...], seed: int, attempt: int) -> Arrays:
    return {"images": np.random.default_rng([*shape, seed, attempt]).standard_normal(shape, np.float32)}


def _random_batch(shape: tuple[int, ...], classes: int, seed: int, attempt: int) -> Arrays:
    """The images and labels of one training step."""
    images = _random_images(shape, seed, attempt)["images"]
    labels = np.random.default_rng([seed, attempt]).integers(0, classes, (1, shape[0]))
    return {"images": images[None], "targets": labels}


def _run_gradients(
    spec: UserModelSpec, workers: Workers, inputs: Arrays, float64: bool, every_module: bool
) -> dict[str, Arrays]:
    """The gradient of every weight: SGD's velocity after a step with a learning rate of 0.

    The gradient of a weight that a framework does not train is 0.
    """
    settings = {"momentum": 0.9, "weight_decay": 0.0, "compiled": False}
    results = ordered_arrays(request_all(workers, "train", inputs, settings=settings, rates=[0.0], float64=float64))
    trained = {name: weight.shape for name, weight in spec.weights.items() if weight.kind not in STATISTICS}
    dtype = np.float64 if float64 else np.float32
    return {
        backend: {
            f"{GRADIENT_PREFIX}{name}": arrays.get(f"velocity/{name}", np.zeros(trained[name], dtype))
            for name in reversed(trained)
        }
        for backend, arrays in results.items()
    }
