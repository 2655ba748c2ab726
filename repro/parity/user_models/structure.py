"""Rung 0 of user models: what their functions return, before anything is run in training or given other weights.

Compared are the weights that are trained, frozen and shared, the mode of every module, and its settings.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from repro.interface.module_outputs import is_output
from repro.interface.module_settings import ModuleDescription, Setting
from repro.parity.user_models.weight_entry import WeightEntry
from repro.weights.weight_pairs import Pair

Difference = tuple[str, str]  # the shared name of a weight or module, and what differs there


@dataclass(frozen=True)
class UserModelDescription:
    """A user model as its worker describes it.

    entries: its weights in the order of execution; momentum: that of its normalisations; modules: by path, the model
    itself under ""; results: the names of everything that a forward pass computes, in that order.
    """

    entries: list[WeightEntry]
    momentum: float
    modules: Mapping[str, ModuleDescription]
    results: list[str]

    @property
    def outputs(self) -> list[str]:
        """The names of the outputs, in that order."""
        return [name for name in self.results if is_output(name)]


def structure_differences(
    backends: tuple[str, str],
    reference: UserModelDescription,
    other: UserModelDescription,
    pairs: Sequence[Pair],
    names: Mapping[str, str],
) -> Iterator[Difference]:
    """Yield the differences between two models.

    pairs: the pairs of their weights. names: shared name of a module -> the other model's own.
    """
    first, second = backends
    entries = {entry.name: entry for entry in reference.entries}
    own_entries = {entry.name: entry for entry in other.entries}
    for pair in pairs:
        for name, own_name in product(pair.left, pair.right):
            entry, counterpart = entries[name], own_entries[own_name]
            if entry.trained != counterpart.trained:
                yield name, f"it is {_training(entry)} in {first} and {_training(counterpart)} in {second}"
            if len(entry.aliases) != len(counterpart.aliases):
                yield name, f"{_sharing(entry)} in {first} and {_sharing(counterpart)} in {second}"
    for path, own_path in _paired_modules(reference, other, names):
        module, own_module = reference.modules[path], other.modules[own_path]
        mode, own_mode = _mode(module, reference.modules[""]), _mode(own_module, other.modules[""])
        if mode != own_mode:
            yield path, f"it is {mode} in {first} and {own_mode} in {second}"
        yield from ((path, text) for text in setting_differences(backends, module, own_module))


def setting_differences(
    backends: tuple[str, str], module: ModuleDescription, other: ModuleDescription
) -> Iterator[str]:
    """Yield a clause for each setting in which two modules differ."""
    first, second = backends
    for setting, value in module.settings.items():
        other_value = other.settings.get(setting, value)
        if not _is_same(value, other_value):
            yield f"its {setting} is {_show(value)} in {first} and {_show(other_value)} in {second}"


def geometry_differences(names: tuple[str, str], module: ModuleDescription, other: ModuleDescription) -> Iterator[str]:
    """Yield a clause for each further setting in which two modules differ, such as their padding."""
    for setting, value in module.geometry.items():
        other_value = other.geometry.get(setting, value)
        if str(value).lower() != str(other_value).lower():
            yield f"its {setting} is {value} in {names[0]} and {other_value} in {names[1]}"


def is_same_layer(module: ModuleDescription, other: ModuleDescription) -> bool:
    """Return whether two modules are of one type and have no different setting."""
    names, differences = ("", ""), (setting_differences, geometry_differences)
    return module.type.lower() == other.type.lower() and not any(
        next(iter(find(names, module, other)), "") for find in differences
    )


def describe_differences(differences: Sequence[Difference], limit: int) -> str:
    """All differences, at most `limit` of them, as the reason of a record whose place is that of the first."""
    others = [f"{place}: {text}" for place, text in differences[1:limit]]
    hidden = len(differences) - limit
    return "; ".join([differences[0][1], *others, *([f"and {hidden} more differences"] if hidden > 0 else [])])


def _paired_modules(
    reference: UserModelDescription, other: UserModelDescription, names: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Yield the paths of modules that are counterparts: layers with weights, and modules of one type between them.

    Modules without weights are counterparts if the same number of their type runs after the same layer in both models.
    """
    layers = {path: names[path] for path in reference.modules if path and names.get(path) in other.modules}
    modules = _modules_behind_layers(reference, {path: path for path in layers})
    own_modules = _modules_behind_layers(other, {own_path: path for path, own_path in layers.items()})
    yield from layers.items()
    for place, paths in modules.items():
        own_paths = own_modules.get(place, [])
        if len(paths) == len(own_paths):
            yield from zip(paths, own_paths, strict=True)


def _modules_behind_layers(
    description: UserModelDescription, shared_names: Mapping[str, str]
) -> dict[tuple[str, str], list[str]]:
    """(shared name of a layer with weights, type) -> the modules of that type that run next, each once.

    shared_names: own path of a layer -> its shared name.
    """
    places: dict[tuple[str, str], list[str]] = {}
    placed: set[str] = set()
    layer = ""
    for result in description.results:
        path = result.partition(" (")[0]  # a module that runs again is "NAME (2)"
        if path in shared_names:
            layer = shared_names[path]
        elif path in description.modules and path not in placed:
            placed.add(path)
            places.setdefault((layer, description.modules[path].type.lower()), []).append(path)
    return places


def _training(entry: WeightEntry) -> str:
    return "trained" if entry.trained else "frozen"


def _sharing(entry: WeightEntry) -> str:
    return f"it is shared with {', '.join(entry.aliases)}" if entry.aliases else "it is not shared"


def _mode(module: ModuleDescription, model: ModuleDescription) -> str:
    """The mode of a module relative to that of its model, which the comparison sets itself."""
    modes = {True: "training", False: "evaluation"}
    if module.training == model.training:
        return "in the mode of the model"
    return f"in {modes[module.training]} mode, unlike the model,"


def _is_same(left: Setting, right: Setting) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        return math.isclose(left, right, rel_tol=1e-5)  # one of them may be float32
    return left == right


def _show(value: Setting) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
