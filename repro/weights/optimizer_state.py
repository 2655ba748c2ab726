"""What goes along with the weights of a checkpoint: moving averages and an optimizer, as far as they fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from repro.arrays import Arrays
from repro.specs import STATISTICS, Spec
from repro.weights.adam_steps import steps_in_file
from repro.weights.checkpoint_groups import POWERS, CheckpointGroups
from repro.weights.formats import optimizer_file, read_optimizer
from repro.weights.strict import fits_spec

Log = Callable[[str], object]


def optimizer_beside(path: Path, found: Arrays, log: Log) -> Arrays:
    """The arrays of an optimizer in a file of its own, where there is one and `path`, which holds `found`, has none."""
    file = optimizer_file(path)
    if file is None:
        return {}
    if any(name.startswith(("optimizer/", "opt/")) for name in found):
        log(f"left out {file}: {path} holds an optimizer itself")
        return {}
    log(f"took the optimizer of {file}")
    return read_optimizer(path, file)


def canonical_ema(averages: Arrays, weights: Arrays, spec: Spec, log: Log) -> Arrays:
    """The averages in the order of the spec, if all fit. A trainer keeps those of what it trains; running statistics
    are the model's own."""
    if not _kept("the moving averages", averages, spec, log):
        return {}
    averages = {name: weights[name] for name, weight in spec.weights.items() if weight.kind in STATISTICS} | averages
    missing = next((name for name in spec.weights if name not in averages), None)
    if missing:
        log(f"left out the moving averages: {missing} is missing")
    return {} if missing else {name: averages[name] for name in spec.weights}


def canonical_optimizer(
    parts: CheckpointGroups, some: Callable[[Arrays], Arrays], theirs: Spec, spec: Spec, log: Log
) -> tuple[dict[str, Arrays], int | None]:
    """The slots that fit `spec`, and how many steps were made where these are Adam's and the file says it.

    some: arrays of the file -> those with a canonical name; theirs: the spec that the file was written for.
    """
    found = {slot: some(arrays) for slot, arrays in parts.slots.items()} | _numbered(parts.numbered, theirs)
    slots = {slot: arrays for slot, arrays in found.items() if _kept(f"the optimizer's {slot}", arrays, spec, log)}
    for slot, arrays in slots.items():
        log(f"took {len(arrays)} arrays of the optimizer's {slot}")
    if "moment1" not in slots:
        return slots, None
    return slots, steps_in_file(parts.counts, [parts.powers.get(name, []) for name in POWERS], log)


def _numbered(numbered: Mapping[str, Mapping[int, np.ndarray]], spec: Spec) -> dict[str, Arrays]:
    """The slots of torch's optimizer, which counts the parameters in the order of the model."""
    trained = [name for name, weight in spec.weights.items() if weight.kind not in STATISTICS]
    return {
        slot: {trained[number]: array for number, array in arrays.items() if number < len(trained)}
        for slot, arrays in numbered.items()
    }


def _kept(what: str, arrays: Arrays, spec: Spec, log: Log) -> bool:
    """Whether there are extra arrays and they belong to the weights; says so where they do not."""
    unfit = next((name for name, array in arrays.items() if not fits_spec(name, array, spec)), None)
    if unfit:
        log(f"left out {what}: {unfit} has shape {arrays[unfit].shape}")
    return bool(arrays) and unfit is None
