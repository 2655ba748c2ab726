"""The rungs of user models: 0, 1, 2 and 4 of the ladder."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

import numpy as np

from repro.arrays import Arrays
from repro.interface.module_outputs import GRADIENT_PREFIX
from repro.interface.module_settings import ModuleDescription
from repro.parity.attempt import Computation, Compute, Workers
from repro.parity.forward_rungs import (
    EVALUATION_FLOAT64_FACTOR,
    TRAIN_BATCH,
    TRAINING_FLOAT64_FACTOR,
    ordered_arrays,
    run_evaluation,
    run_training_mode,
)
from repro.parity.judge import judge, run_all_attempts
from repro.parity.record import Record
from repro.parity.tolerance import CEILING
from repro.parity.user_models.constants import with_unbiased_variances
from repro.parity.user_models.inputs import Inputs, perturbed_name, random_inputs, small_signals, with_batch
from repro.parity.user_models.models import UserModels
from repro.parity.user_models.structure import describe_differences
from repro.specs import STATISTICS
from repro.workers.client import WorkerError, request_all

MakeInputs = Callable[[int], Arrays]
T = TypeVar("T")

# Errors in float64 that count as a constant of a framework: a constant that is kept in float32 is wrong by 6e-8, and
# what is computed with it by up to 16 times as much where it is a place between the pixels of a map that is resized;
# gradients are computed with many of them
CONSTANT_SHARE, GRADIENT_CONSTANT_SHARE = 1e-6, 5e-6
MAX_DIFFERENCES_SHOWN, MAX_PLACES_SHOWN = 8, 4


def run_user_rungs(
    models: UserModels, rungs: Sequence[int], weights: Arrays, seed: int, *, strict: bool = False
) -> Iterator[Record]:
    """Yield the records of rungs among 0, 1, 2 and 4. strict: let constants of a framework diverge, too.

    There is no verdict on a model that draws random numbers in the mode of the rung, nor on any model where fewer than
    two are left.
    """
    spec, workers = models.spec, models.workers
    computations, inputs_of_modes = _computations(models, weights, seed, strict=strict)
    failures: dict[bool, dict[str, str]] = {False: {}, True: {}}  # training mode or evaluation -> backend -> message
    randomness = {
        train: _without_failing(workers, failures[train], partial(_find_randomness, models, images, train=train))
        for train, images in inputs_of_modes.items()
        if ({2, 4} if train else {1}) & set(rungs)
    }
    for rung in rungs:
        if rung == 0:
            yield from _compare_structure(models)
            continue
        random_models, failed = randomness[rung != 1], failures[rung != 1]
        judged = {backend: worker for backend, worker in workers.items() if backend not in random_models}
        records = {}
        if len(judged.keys() - failed.keys()) > 1 or not random_models | failed:
            judge_rung = partial(_judge, models, rung, computations[rung], weights)
            records = _without_failing(judged, failed, judge_rung)
        reason = f"unanswerable until the randomness is shared or switched off: {'; '.join(random_models.values())}"
        for backend in workers:
            missing = Record(spec.name, rung, backend, "", "unanswerable", None, 0.0, "", failed.get(backend, reason))
            yield records.get(backend, missing)


def record_user_rungs(models: UserModels, rungs: Sequence[int], weights: Arrays, seed: int) -> None:
    """Compute everything that run_user_rungs may request from a model that is compared on another machine."""
    computations, inputs_of_modes = _computations(models, weights, seed, strict=False)
    for train, images in inputs_of_modes.items():
        _find_randomness(models, images, models.workers, train=train)
    run_all_attempts(models.workers, _with_reference(models, [c for rung in rungs if rung for c in computations[rung]]))


def _computations(
    models: UserModels, weights: Arrays, seed: int, *, strict: bool
) -> tuple[dict[int, list[Computation]], dict[bool, Arrays]]:
    """The computations of each rung, and the inputs of evaluation and of training mode with which randomness shows."""
    shared_weights = {name: weights[name] for name in models.compared_weights}
    perturbed = perturbed_name(models.inputs, shared_weights)
    perturbed_weights = {perturbed: weights[perturbed.removeprefix("weights/")]} if "/" in perturbed else {}

    def make_inputs(inputs: Inputs, attempt: int) -> Arrays:
        return perturbed_weights | random_inputs(inputs, seed, attempt)

    def make_small(attempt: int) -> Arrays:
        return perturbed_weights | small_signals(models.inputs, shared_weights, models.spec, seed, attempt)

    make_batch = partial(make_inputs, with_batch(models.inputs, TRAIN_BATCH))
    run_gradients = partial(_run_gradients, models)
    run_training = run_training_mode if strict else partial(_run_training_mode, models, weights)

    def computation(name: str, make_inputs: MakeInputs, compute: Compute, float64_factor: float) -> Computation:
        is_forward = compute is not run_gradients
        share = 0.0 if strict else CONSTANT_SHARE if is_forward else GRADIENT_CONSTANT_SHARE
        return Computation(
            name, make_inputs, perturbed, compute, float64_factor, ceiling=CEILING, compares_modules=is_forward,
            constant_share=share, has_kinks=not is_forward,
        )  # fmt: skip

    computations = {
        1: [
            computation("", partial(make_inputs, models.inputs), run_evaluation, EVALUATION_FLOAT64_FACTOR),
            # Paddle keeps an epsilon in float32, which matters where signals are small
            computation("small signals", make_small, run_evaluation, TRAINING_FLOAT64_FACTOR),
        ],
        2: [computation("", make_batch, run_training, TRAINING_FLOAT64_FACTOR)],
        4: [computation("", make_batch, run_gradients, TRAINING_FLOAT64_FACTOR)],
    }
    return computations, {False: make_inputs(models.inputs, 0), True: make_batch(0)}


def _compare_structure(models: UserModels) -> Iterator[Record]:
    """Rung 0: the models as their functions return them, before settings are changed for the other rungs."""
    name, (first, *_) = models.spec.name, models.workers
    for backend in models.workers:
        if differences := models.differences[backend]:
            reason = describe_differences(differences, MAX_DIFFERENCES_SHOWN)
            record = Record(name, 0, backend, first, "diverges", None, 0.0, differences[0][0], reason)
            yield replace(record, where=_place_in_both_models(record, models.names[backend]))
        else:
            reason = f"{len(models.spec.weights)} weights with {models.spec.params:,} parameters"
            yield Record(name, 0, backend, first, "equal", 0.0, 0.0, "", reason)


def _judge(
    models: UserModels, rung: int, computations: list[Computation], weights: Arrays, workers: Workers
) -> dict[str, Record]:
    """The record of each model on a rung from 1 on, with places under the names in both models."""
    records = {}
    computations = _with_reference(replace(models, workers=workers), computations)
    for record in judge(models.spec, rung, workers, computations, weights):
        where = _place_in_both_models(record, models.names[record.backend])
        reason = record.reason + _other_divergences(record)
        name = record.reference if models.has_float64 else record.reference.removesuffix(" float64")
        records[record.backend] = replace(record, reference=name, where=where, reason=reason)
    return records


def _without_failing(workers: Workers, failures: dict[str, str], compute: Callable[[Workers], T]) -> T:
    """The result of a computation with all workers but those that have failed, as long as two are left.

    failures: backend -> message, to which those that fail now are added.
    """
    while True:
        sound = {backend: worker for backend, worker in workers.items() if backend not in failures}
        try:
            return compute(sound)
        except WorkerError as error:
            if len(sound) < 3:
                raise
            failures[error.backend] = str(error)


def _find_randomness(models: UserModels, images: Arrays, workers: Workers, *, train: bool) -> dict[str, str]:
    """Backend -> a clause that names what is random in its model, for each model in which something is."""
    clauses = {}
    for backend, (causes, _) in request_all(workers, "find_randomness", images, train=train).items():
        if causes:
            texts = [f"{_describe_place(place, models.modules[backend])} {text}" for place, text in causes]
            mode = "training" if train else "evaluation"
            clauses[backend] = f"in {backend}'s model, {', '.join(texts)} in {mode} mode"
    return clauses


def _describe_place(place: str, modules: Mapping[str, ModuleDescription]) -> str:
    """A module with its type, or another result of a forward pass by its name."""
    if place not in modules:
        return place
    return f"{place or 'the model itself'} ({modules[place].type})"


def _place_in_both_models(record: Record, names: Mapping[str, str]) -> str:
    """The place of a record under its shared name, and under the model's own if that differs."""
    own_place = re.sub(r"[\w.]+", lambda match: names.get(match[0], match[0]), record.where)
    return record.where if own_place == record.where else f"{record.where}, in {record.backend} {own_place}"


def _other_divergences(record: Record) -> str:
    """All places that diverge, for users who know the first one already."""
    places = [where for where, error, tolerance in record.profile if error is None or error > tolerance]
    if not record.diverges or not places:
        return ""
    hidden = len(places) - MAX_PLACES_SHOWN
    more = f" and {hidden} more" if hidden > 0 else ""
    return f"; all that diverge: {', '.join(places[:MAX_PLACES_SHOWN])}{more}, of {len(record.profile)}"


def _with_reference(models: UserModels, computations: list[Computation]) -> list[Computation]:
    """The computations with a reference in float32 where no model has float64."""
    if models.has_float64:
        return computations
    reference = next(iter(models.workers))
    return [replace(c, compute=partial(_with_float32_reference, reference, c.compute)) for c in computations]


def _with_float32_reference(
    reference: str, compute: Compute, workers: Workers, inputs: Arrays, *, float64: bool, every_module: bool
) -> dict[str, Arrays]:
    """A computation in which the reference's float32 results stand for those in float64, which no model has."""
    if not float64:
        return compute(workers, inputs, float64=False, every_module=every_module)
    if reference not in workers:
        return {}
    results = compute({reference: workers[reference]}, inputs, float64=False, every_module=every_module)
    return {reference: {name: array.astype(np.float64) for name, array in results[reference].items()}}


def _run_training_mode(
    models: UserModels, weights: Arrays, workers: Workers, inputs: Arrays, *, float64: bool, every_module: bool
) -> dict[str, Arrays]:
    """The forward pass in training mode, without the constants of a framework."""
    return {
        backend: with_unbiased_variances(results, backend, models, weights)
        for backend, results in run_training_mode(workers, inputs, float64=float64, every_module=every_module).items()
    }


def _run_gradients(
    models: UserModels, workers: Workers, inputs: Arrays, *, float64: bool, every_module: bool
) -> dict[str, Arrays]:
    """The gradient of every weight that all models have, from the last to the first."""
    results = ordered_arrays(request_all(workers, "gradients", inputs, float64=float64))
    trained = [name for name in models.compared_weights if models.spec.weights[name].kind not in STATISTICS]
    return {
        backend: {f"{GRADIENT_PREFIX}{name}": arrays[name] for name in reversed(trained) if name in arrays}
        for backend, arrays in results.items()
    }
