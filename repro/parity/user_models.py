"""User models, which are not from this repository, one per framework.

A mapping pairs their weights, and the modules that own weights are compared under the names of the first model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from repro.arrays import Arrays
from repro.errors import ReproError
from repro.interface.module_settings import ModuleDescription
from repro.parity.judge import Workers
from repro.parity.mapping import Counterpart, WeightEntry, align_weights, order_by_execution
from repro.parity.user_inputs import random_images
from repro.parity.user_structure import Difference, UserModelDescription, structure_differences
from repro.specs import STATISTICS, Weight
from repro.specs.user_model import UserModelSpec
from repro.weights.init import random_weights
from repro.weights.mapping_file import ModelMapping, check_names, mapping_errors, read_mapping, write_mapping
from repro.workers.user_code import rename_result

MAX_ERRORS_SHOWN = 8
SharedNames = dict[str, dict[str, str]]  # backend -> name of a weight or module in the first model -> its own name
Print = Callable[[str], object]


@dataclass(frozen=True)
class UserModels:
    """User models whose weights are paired.

    spec: of the first model, with weights in the order of execution; names: what every model calls them; results: the
    results of a forward pass that all models have, under shared names; shape: of the input; modules: those of each
    model by path, the model itself under ""; differences: of each model from the first, as their functions return them.
    """

    workers: Workers
    spec: UserModelSpec
    names: SharedNames
    results: list[str]
    shape: tuple[int, ...]
    modules: Mapping[str, Mapping[str, ModuleDescription]]
    differences: Mapping[str, list[Difference]]


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
    weights = {backend: {entry.name: entry.weight for entry in of_model} for backend, of_model in entries.items()}
    counterparts = _pair_weights(entries, weights, mapping_file, print_line)
    for line in _mapping_table(entries, counterparts):
        print_line(line)
    mappings = {
        backend: {name: counterpart.name for name, counterpart in of_backend.items()}
        for backend, of_backend in counterparts.items()
    }
    errors = [
        f"{backend}: {error}"
        for backend in others
        for error in mapping_errors(weights[first], weights[backend], mappings[backend])
    ]
    if errors:
        hidden = len(errors) - MAX_ERRORS_SHOWN
        more = f" and {hidden} more" if hidden > 0 else ""
        remedy = f"correct {mapping_file}" if mapping_file else "give --mapping FILE, and correct what is written there"
        shared = [
            f"{backend}: {entry.name} is shared with {', '.join(entry.aliases)}"
            for backend, of_backend in entries.items()
            for entry in of_backend
            if entry.aliases
        ]
        shown = "; ".join(errors[:MAX_ERRORS_SHOWN]) + more + "".join(f"; {line}" for line in shared[:MAX_ERRORS_SHOWN])
        raise ReproError(f"weights cannot be paired: {shown}; {remedy}")
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
        weights_by_name=weights[first],
        owners={entry.name: entry.layer for entry in reference.entries},
    )
    results = [result for result in reference.results if all(result in of_model for of_model in shared_results)]
    differences = {
        backend: list(structure_differences((first, backend), reference, descriptions[backend], names[backend]))
        for backend in workers
    }
    modules = {backend: description.modules for backend, description in descriptions.items()}
    return UserModels(workers, spec, names, results, shape, modules, differences)


def _describe_model(workers: Workers, backend: str, source: str, shape: tuple[int, ...]) -> UserModelDescription:
    worker = workers[backend]
    description, _ = worker.request("create_user_model", source=source, folder=str(Path.cwd()))
    results, arrays = worker.request("forward", random_images(shape, 0, 0), every_module=True)
    entries = order_by_execution(description["weights"], results)
    if not entries:
        raise ReproError(f"{source} has no weights, so it cannot be compared")
    modules = {path: ModuleDescription(*module) for path, module in description["modules"].items()}
    return UserModelDescription(entries, description["momentum"], modules, results, arrays["logits"].shape)


def _pair_weights(
    entries: Mapping[str, Sequence[WeightEntry]],
    weights: dict[str, dict[str, Weight]],
    mapping_file: Path | None,
    print_line: Print,
) -> dict[str, dict[str, Counterpart]]:
    """The counterparts of the first model's weights in each other model, from the file if it exists.

    The file is brought up to date where the models have other weights than it says.
    """
    first, *others = entries
    if mapping_file and mapping_file.exists():
        mapping = read_mapping(mapping_file)
        names = {
            backend: check_names(mapping_file, mapping, backend, weights[first], weights[backend]) for backend in others
        }
        if any(mapping.weights.get(backend) != of_model for backend, of_model in weights.items()):
            write_mapping(mapping_file, ModelMapping(mapping.names, mapping.weights | weights))
            print_line(f"brought the kinds and shapes in {mapping_file} up to date")
        return {
            backend: {entry.name: Counterpart(of_backend.get(entry.name)) for entry in entries[first]}
            for backend, of_backend in names.items()
        }
    counterparts = {backend: align_weights(entries[first], entries[backend]) for backend in others}
    if mapping_file:
        mapping = ModelMapping(
            {backend: {name: pair.name for name, pair in pairs.items()} for backend, pairs in counterparts.items()},
            weights,
            {backend: {name: pair.doubt for name, pair in pairs.items()} for backend, pairs in counterparts.items()},
        )
        write_mapping(mapping_file, mapping)
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
        reason, _ = worker.request("check_float64", random_images(models.shape, seed, 0))
        if reason:
            print_line(f"{backend} is not compared in float64: {reason}")
    return weights
