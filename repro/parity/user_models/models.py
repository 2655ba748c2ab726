"""User models, which are not from this repository, one per framework.

A mapping pairs their weights, and the modules that own weights are compared under the names of the first model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from repro.arrays import Arrays
from repro.errors import ReproError
from repro.interface.module_settings import ModuleDescription
from repro.parity.attempt import Workers
from repro.parity.user_models.inputs import Inputs, random_inputs
from repro.parity.user_models.mapping_trial import MappingTrial
from repro.parity.user_models.pairs import find_pairs, mapping_table, module_names
from repro.parity.user_models.structure import (
    Difference,
    UserModelDescription,
    geometry_differences,
    structure_differences,
)
from repro.parity.user_models.weight_differences import weight_differences
from repro.parity.user_models.weight_entry import order_by_execution
from repro.specs import STATISTICS
from repro.specs.user_model import UserModelSpec
from repro.weights.init import random_weights
from repro.weights.mapping_file import SEPARATOR
from repro.weights.weight_pairs import Pair, neutral_value, unpaired
from repro.workers.client import WorkerError, request_all
from repro.workers.user_code import rename_result

MAX_SUSPECTS = 4
SharedNames = dict[str, dict[str, str]]  # backend -> name of a weight or module in the first model -> its own name
Print = Callable[[str], object]


@dataclass(frozen=True)
class UserModels:
    """User models whose weights are paired.

    spec: that of the first model, with weights in the order of execution; pairs: its weights with those of each model;
    names: what every model calls them; results: the results of a forward pass that all models have, under shared names;
    inputs: what the models are given; modules: those of each model by path, the model itself under ""; runs: the names
    of all results of a forward pass of each model, in the order of computation; differences: those of each model from
    the first, as their functions return them; left_out: backend -> why its model cannot be compared; has_float64:
    whether any model computes in float64; own_weights: those with which the functions return the models, under shared
    names, and as "only/NAME" those that have none.
    """

    workers: Workers
    spec: UserModelSpec
    pairs: Mapping[str, list[Pair]]
    names: SharedNames
    results: list[str]
    inputs: Inputs
    modules: Mapping[str, Mapping[str, ModuleDescription]]
    runs: Mapping[str, Sequence[str]]
    differences: Mapping[str, list[Difference]]
    left_out: Mapping[str, str]
    has_float64: bool
    own_weights: Mapping[str, Arrays]

    @property
    def compared_weights(self) -> list[str]:
        """The weights of the first model that every model has."""
        missing = {name for pairs in self.pairs.values() for name in unpaired(pairs)[0]}
        return [name for name in self.spec.weights if name not in missing]


def load_user_models(
    workers: Workers, sources: Mapping[str, str], inputs: Inputs, mapping_file: Path | None, print_line: Print,
    *, folder: Path | None = None, print_mapping: Print | None = None,
) -> UserModels:  # fmt: skip
    """Build a model in each worker with its function "MODULE:FUNCTION", pair their weights and print the pairs.

    The shared names are those of the first model. mapping_file: read if it exists, and otherwise written; folder: from
    which the modules can be imported, or None for the current one; print_mapping: prints the pairs in place of
    `print_line`.

    A model that fails, or whose weights have no counterparts, is left out, which is printed. Raises ReproError if fewer
    than two are left.
    """
    failures: dict[str, ReproError] = {}
    modules: dict[str, dict[str, ModuleDescription]] = {}
    descriptions: dict[str, UserModelDescription] = {}
    for backend in workers:
        try:
            modules[backend] = {}
            descriptions[backend] = _describe_model(
                workers, backend, sources[backend], inputs, folder, modules[backend]
            )
        except ReproError as error:
            failures[backend] = error
    failures = {backend: _with_suspects(error, backend, modules) for backend, error in failures.items()}
    _check_count(descriptions, failures)
    entries = {backend: description.entries for backend, description in descriptions.items()}
    first = next(iter(entries))

    output_names = {
        backend: _pair_outputs(descriptions[first].outputs, description.outputs)
        for backend, description in descriptions.items()
    }
    compared = [name for name in descriptions[first].outputs if all(name in names for names in output_names.values())]
    outputs = {backend: [names[name] for name in compared] for backend, names in output_names.items()}
    for backend, description in descriptions.items():
        if others := [name for name in description.outputs if name not in outputs[backend]]:
            print_line(f"not compared: {', '.join(others)} of {backend}, which no other model has")

    def without_influence(backend: str, names: list[str]) -> list[str]:
        if not names:
            return []
        try:
            return workers[backend].request(
                "without_influence", random_inputs(inputs, 0, 0), names=names, outputs=outputs[backend], seed=0
            )[0]
        except WorkerError:  # the model does not run in training mode
            return []

    settle_doubts = MappingTrial(workers, entries, inputs).settle_doubts
    pairs, errors = find_pairs(entries, mapping_file, without_influence, settle_doubts, print_line)
    for line in mapping_table(entries, pairs):
        (print_mapping or print_line)(line)
    failures |= errors
    descriptions = {backend: description for backend, description in descriptions.items() if backend not in errors}
    _check_count(descriptions, failures)
    for backend, failure in failures.items():
        print_line(f"{backend} is left out: {failure}")
    reference = descriptions[first]
    all_pairs = {first: [Pair((name,), (name,)) for name in (entry.name for entry in entries[first])]}
    all_pairs |= {backend: pairs[backend] for backend in descriptions if backend != first}
    names = {
        backend: _weight_names(all_pairs[backend])
        | module_names(entries[first], entries[backend], all_pairs[backend])
        | {name: output_names[backend][name] for name in compared}
        for backend in descriptions
    }
    shared_results = []
    for backend, description in descriptions.items():
        shared_names = {own_name: name for name, own_name in names[backend].items()}
        shared_results.append({rename_result(result, shared_names) for result in description.results})
    spec = UserModelSpec(
        name=sources[first],
        norm_momentum=reference.momentum,
        weights_by_name={entry.name: entry.weight for entry in entries[first]},
        owners={entry.name: entry.layer for entry in reference.entries},
    )
    differences = {
        backend: list(
            structure_differences((first, backend), reference, description, all_pairs[backend], names[backend])
        )
        for backend, description in descriptions.items()
    }
    sound = {backend: workers[backend] for backend in descriptions}
    results = [result for result in reference.results if all(result in of_model for of_model in shared_results)]
    return UserModels(
        workers=sound,
        spec=spec,
        pairs=all_pairs,
        names=names,
        results=results,
        inputs=inputs,
        modules={backend: description.modules for backend, description in descriptions.items()},
        runs={backend: description.results for backend, description in descriptions.items()},
        differences=differences,
        left_out={backend: str(failure) for backend, failure in failures.items()},
        has_float64=_check_float64(sound, inputs, print_line),
        own_weights=_share_names(sound, spec, all_pairs, names, results),
    )


def _check_count(models: Mapping[str, object], failures: Mapping[str, ReproError]) -> None:
    """Raise the first failure if fewer than two models are left, or the only one has failed."""
    if failures and len(models) < 2:
        raise next(iter(failures.values()))


def _describe_model(
    workers: Workers, backend: str, source: str, inputs: Inputs, folder: Path | None,
    modules: dict[str, ModuleDescription],
) -> UserModelDescription:  # fmt: skip
    """Build a model, whose modules are added to `modules`, and run it."""
    worker = workers[backend]
    description, _ = worker.request("create_user_model", source=source, folder=str(folder or Path.cwd()))
    modules |= {path: ModuleDescription(*module) for path, module in description["modules"].items()}
    results, arrays = worker.request("forward", random_inputs(inputs, 0, 0), every_module=True)
    entries = order_by_execution(description["weights"], results, {name: array.shape for name, array in arrays.items()})
    if not entries:
        raise WorkerError(backend, f"{source} has no weights, so it cannot be compared")
    return UserModelDescription(entries, description["momentum"], modules, results)


def _with_suspects(
    error: ReproError, backend: str, modules: Mapping[str, Mapping[str, ModuleDescription]]
) -> ReproError:
    """The error of a model that does not run, and settings in which modules differ from those of the same names."""
    for other, descriptions in modules.items():
        suspects = [
            f"{path}: {text}"
            for path, module in modules[backend].items()
            if path in descriptions and module.geometry.keys() & descriptions[path].geometry.keys()
            for text in geometry_differences((other, backend), descriptions[path], module)
        ]
        if other != backend and suspects:
            more = f" and {len(suspects) - MAX_SUSPECTS} more" if len(suspects) > MAX_SUSPECTS else ""
            return WorkerError(backend, f"{error}; suspects: {'; '.join(suspects[:MAX_SUSPECTS])}{more}")
    return error


def _pair_outputs(names: Sequence[str], own_names: Sequence[str]) -> dict[str, str]:
    """The outputs of the first model that another one has: by their names, and in their order where these differ."""
    pairs = {name: name for name in names if name in own_names}
    unpaired = [name for name in names if name not in pairs]
    own_unpaired = [name for name in own_names if name not in pairs]
    return pairs | dict(zip(unpaired, own_unpaired, strict=False))


def _weight_names(pairs: Sequence[Pair]) -> dict[str, str]:
    return {name: SEPARATOR.join(pair.right) for pair in pairs if pair.right for name in pair.left}


def _check_float64(workers: Workers, inputs: Inputs, print_line: Print) -> bool:
    """Return whether any model computes in float64. Print which model does not."""
    answers = request_all(workers, "check_float64", random_inputs(inputs, 0, 0))
    for backend, (reason, _) in answers.items():
        if reason:
            print_line(f"{backend} is not compared in float64: {reason}")
    if all(reason for reason, _ in answers.values()):
        print_line(f"{next(iter(workers))} is the reference in float32")
        return False
    return True


def load_random_weights(models: UserModels, seed: int) -> Arrays:
    """Load the same random weights into all models and return them.

    The weights that a model starts from, such as means of 0 and variances of 1, would hide weights that are swapped. A
    weight that a model lacks gets the value with which it changes nothing.
    """
    weights = random_weights(models.spec, seed)
    for name in set(weights) - set(models.compared_weights):
        value = neutral_value(name, models.spec.weights[name])
        if value is not None:
            weights[name][...] = value
    request_all(models.workers, "load_user_weights", weights, seed=seed)
    return weights


def keep_own_weights(models: UserModels, seed: int) -> Arrays:
    """Leave each model its own weights, and return those of the first one."""
    request_all(models.workers, "load_user_weights", seed=seed)
    return dict(next(iter(models.own_weights.values())))


def compare_own_weights(models: UserModels) -> UserModels:
    """The models with all differences between the weights with which their functions return them."""
    (first, reference), *_ = models.own_weights.items()
    differences = {
        backend: [
            *models.differences[backend],
            *weight_differences((first, backend), models.spec.weights, models.pairs[backend], reference, own),
        ]
        for backend, own in models.own_weights.items()
    }
    return replace(models, differences=differences)


def _share_names(
    workers: Workers, spec: UserModelSpec, pairs: Mapping[str, list[Pair]], names: SharedNames, results: list[str]
) -> dict[str, Arrays]:
    """Let all workers use shared names, and return the weights with which the functions return the models."""
    missing = {name for of_backend in pairs.values() for name in unpaired(of_backend)[0]}
    statistics = [name for name, weight in spec.weights.items() if weight.kind in STATISTICS and name not in missing]
    shapes = {name: weight.shape for name, weight in spec.weights.items()}
    return {
        backend: worker.request(
            "share_names",
            pairs=[[pair.left, pair.right] for pair in pairs[backend]],
            shapes=shapes,
            names={own_name: name for name, own_name in names[backend].items() if name not in spec.weights},
            results=results + statistics,
        )[1]
        for backend, worker in workers.items()
    }
