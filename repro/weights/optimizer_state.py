"""The EMA and the optimizer's state of a checkpoint in canonical form, as far as they fit the weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from repro.arrays import Arrays
from repro.specs import STATISTICS, Spec
from repro.weights import Log
from repro.weights.adam_steps import steps_in_file
from repro.weights.checkpoint_groups import BETA_POWERS, CheckpointGroups, has_optimizer
from repro.weights.formats import optimizer_file, read_optimizer
from repro.weights.layout_reader import LayoutReader
from repro.weights.strict import fits_spec


def separate_optimizer(path: Path, arrays: Arrays, log: Log) -> Arrays:
    """Read the optimizer's own file, which Paddle writes next to the file of the weights.

    arrays: the contents of `path`. Returns {} where there is no such file or `arrays` include an optimizer.
    """
    file = optimizer_file(path)
    if file is None:
        return {}
    if has_optimizer(arrays):
        log(f"skipped {file}: {path} itself holds an optimizer")
        return {}
    log(f"read the optimizer in {file}")
    return read_optimizer(path, file)


def canonical_ema(ema: Arrays, weights: Arrays, spec: Spec, log: Log) -> Arrays:
    """Return the EMA in the order of the spec if it is complete and every array fits, {} otherwise.

    ema: canonical arrays. A trainer averages only trained weights, so running statistics may come from `weights`.
    """
    if not _all_fit("the EMA", ema, spec, log):
        return {}
    ema = {name: weights[name] for name, weight in spec.weights.items() if weight.kind in STATISTICS} | ema
    missing = next((name for name in spec.weights if name not in ema), None)
    if missing:
        log(f"skipped the EMA: {missing} is missing")
        return {}
    return {name: ema[name] for name in spec.weights}


def canonical_optimizer(
    groups: CheckpointGroups, reader: LayoutReader, spec: Spec, log: Log
) -> tuple[dict[str, Arrays], int | None]:
    """Return the slots whose arrays all fit `spec`, and Adam's step count where the file gives it.

    reader: reads the layout of the file; its spec, which numbers torch's parameters, may have other classes.
    """
    slots = {slot: reader.to_canonical(arrays) for slot, arrays in groups.slots.items()}
    slots |= _named_slots(groups.numbered_slots, reader.spec)
    fitting = {slot: arrays for slot, arrays in slots.items() if _all_fit(f"the optimizer's {slot}", arrays, spec, log)}
    for slot, arrays in fitting.items():
        log(f"read the optimizer's {slot}: {len(arrays)} arrays")
    if "moment1" not in fitting:
        return fitting, None
    beta_powers = [groups.beta_powers.get(name, []) for name in BETA_POWERS]
    return fitting, steps_in_file(groups.step_counters, beta_powers, log)


def _named_slots(numbered_slots: Mapping[str, Mapping[int, np.ndarray]], spec: Spec) -> dict[str, Arrays]:
    """Name the arrays of torch's optimizer, which numbers parameters in the order of the model."""
    trained = [name for name, weight in spec.weights.items() if weight.kind not in STATISTICS]
    return {
        slot: {trained[number]: array for number, array in arrays.items() if number < len(trained)}
        for slot, arrays in numbered_slots.items()
    }


def _all_fit(what: str, arrays: Arrays, spec: Spec, log: Log) -> bool:
    """Return whether there are arrays and all have the name and shape of a weight; log the first that has not."""
    misfit = next((name for name, array in arrays.items() if not fits_spec(name, array, spec)), None)
    if misfit:
        log(f"skipped {what}: {misfit} has shape {arrays[misfit].shape}")
    return bool(arrays) and misfit is None
