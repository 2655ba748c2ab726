"""The values that two user models compute at the same place: what paired modules take and return, run by run."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from repro.interface.module_outputs import INPUT_PREFIX, is_output
from repro.interface.module_settings import ModuleDescription
from repro.parity.user_models.models import UserModels
from repro.workers.user_code import RESULT_NAME

# Containers without a forward pass of their own
CONTAINERS = {"sequential", "sequentialcell", "modulelist", "layerlist", "celllist"}
SYNONYMS = {"hswish": "hardswish", "hsigmoid": "hardsigmoid", "swish": "silu"}


def pair_values(models: UserModels, first: str, other: str) -> dict[str, str]:
    """The first model's name of each value -> the other's, in the order in which the first model computes them.

    Paired are the modules with weights that are counterparts, and between them the modules of one type that run equally
    often in both models, after the same layer or in the whole model.
    """
    modules, own_modules = models.modules[first], models.modules[other]
    layers = {
        models.names[first][name]: own_name
        for name, own_name in models.names[other].items()
        if own_name in own_modules and models.names[first].get(name) in modules and own_name
    }
    runs, own_runs = _split_runs(models.runs[first]), _split_runs(models.runs[other])
    pairs: dict[str, str] = {}
    for path, own_path in layers.items():
        values = [value for value, of_path in runs.items() if of_path == path]
        own_values = [value for value, of_path in own_runs.items() if of_path == own_path]
        if len(values) == len(own_values):
            pairs |= dict(zip(values, own_values, strict=True))
    places = _values_behind_layers(runs, modules, {path: path for path in layers})
    own_places = _values_behind_layers(own_runs, own_modules, {own_path: path for path, own_path in layers.items()})
    for place, values in places.items():
        own_values = own_places.get(place, [])
        if len(values) == len(own_values):
            pairs |= dict(zip(values, own_values, strict=True))
    unpaired, own_unpaired = _by_type(places, pairs.keys()), _by_type(own_places, pairs.values())
    for kind, values in unpaired.items():
        own_values = own_unpaired.get(kind, [])
        if len(values) == len(own_values):  # they run after other layers, or in another order
            pairs |= dict(zip(values, own_values, strict=True))
    with_inputs = {
        f"{prefix}{value}": f"{prefix}{own_value}"
        for value, own_value in pairs.items()
        for prefix in (INPUT_PREFIX, "")
    }
    available = set(models.runs[other])
    return {value: with_inputs[value] for value in models.runs[first] if with_inputs.get(value) in available}


def module_of(value: str) -> str:
    """The path of the module that takes or returns a value."""
    match = RESULT_NAME.fullmatch(value)
    assert match
    return match[2]


def modules_between(runs: Sequence[str], before: str, after: str, known: Collection[str]) -> Iterator[str]:
    """Yield the paths of the modules that return a value outside `known` between two others.

    before: "" for the start of the forward pass.
    """
    start = runs.index(before) + 1 if before in runs else 0
    end = runs.index(after) if after in runs else len(runs)
    for value in runs[start:end]:
        if not value.startswith(INPUT_PREFIX) and not is_output(value) and value not in known:
            yield module_of(value)


def without_inputs(runs: Sequence[str]) -> list[str]:
    """The values among the results of a forward pass that modules return."""
    return [value for value in runs if not value.startswith(INPUT_PREFIX) and not is_output(value)]


def _split_runs(runs: Sequence[str]) -> dict[str, str]:
    """The name of each value that a module returns -> the path of the module."""
    return {value: module_of(value) for value in without_inputs(runs)}


def _values_behind_layers(
    runs: Mapping[str, str], modules: Mapping[str, ModuleDescription], shared_paths: Mapping[str, str]
) -> dict[tuple[str, str], list[str]]:
    """(value of a layer with weights, under its shared path, and a type) -> the values of such modules after it.

    shared_paths: the model's own path of a layer -> its shared one.
    """
    places: dict[tuple[str, str], list[str]] = {}
    layer = ""
    for value, path in runs.items():
        if path in shared_paths:
            layer = value.replace(path, shared_paths[path], 1)
        elif path in modules and (kind := modules[path].type.lower()) not in CONTAINERS:
            places.setdefault((layer, SYNONYMS.get(kind, kind)), []).append(value)
    return places


def _by_type(places: Mapping[tuple[str, str], list[str]], paired: Collection[str]) -> dict[str, list[str]]:
    """The values of modules of each type that are not paired."""
    values: dict[str, list[str]] = {}
    for (_, kind), of_place in places.items():
        values.setdefault(kind, []).extend(value for value in of_place if value not in paired)
    return values
