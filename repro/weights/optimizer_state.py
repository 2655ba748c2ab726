"""The EMA and the optimizer's state of a checkpoint in canonical form, as far as they fit the weights."""

from __future__ import annotations

from pathlib import Path

from repro.arrays import Arrays
from repro.specs import STATISTICS, Spec
from repro.untrusted import printable
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


def canonical_ema(groups: CheckpointGroups, reader: LayoutReader, weights: Arrays, spec: Spec, log: Log) -> Arrays:
    """Return the EMA in the order of the spec if it is complete and every array fits, {} otherwise.

    A trainer averages only trained weights, so running statistics may come from `weights`, which are canonical.
    """
    ema = _canonical("the EMA", groups.ema, reader, spec, log)
    if not ema:
        return {}
    ema = {name: weights[name] for name, weight in spec.weights.items() if weight.kind in STATISTICS} | ema
    missing = next((name for name in spec.weights if name not in ema), None)
    if missing:
        log(f"skipped the EMA: {missing} is missing")
        return {}
    log(f"read the EMA under {groups.ema_group!r}")
    return {name: ema[name] for name in spec.weights}


def canonical_optimizer(
    groups: CheckpointGroups, reader: LayoutReader, spec: Spec, log: Log
) -> tuple[dict[str, Arrays], int | None]:
    """Return the slots whose arrays all fit `spec`, and Adam's step count where the file gives it.

    reader: reads the layout of the file; its spec may have another number of classes.
    """
    slots = {}
    for slot, named in (groups.slots | _named_slots(groups, reader)).items():
        hint = "; several groups of parameters change their order" if slot in groups.numbered_slots else ""
        arrays = _canonical(f"the optimizer's {slot}", named, reader, spec, log, hint)
        if arrays:
            slots[slot] = arrays
            log(f"read the optimizer's {slot}: {len(arrays)} arrays")
    if "moment1" not in slots:
        return slots, None
    beta_powers = [groups.beta_powers.get(name, []) for name in BETA_POWERS]
    return slots, steps_in_file(groups.step_counters, beta_powers, log)


def _named_slots(groups: CheckpointGroups, reader: LayoutReader) -> dict[str, Arrays]:
    """Name the arrays of torch's optimizer, which numbers the parameters in the order of the file's state dict."""
    statistics = {reader.names[name] for name, weight in reader.spec.weights.items() if weight.kind in STATISTICS}
    trained = [name for name in groups.weights if name not in statistics]
    return {
        slot: {trained[number] if number < len(trained) else f"parameter {number}": array
               for number, array in arrays.items()}
        for slot, arrays in groups.numbered_slots.items()
    }  # fmt: skip


def _canonical(title: str, arrays: Arrays, reader: LayoutReader, spec: Spec, log: Log, hint: str = "") -> Arrays:
    """Return the arrays of the file under canonical names if each one fits a weight of the spec, {} otherwise.

    `log` receives the first array that does not fit, with the hint.
    """
    unknown = next((name for name in arrays if name not in reader.canonical_names), None)
    if unknown is not None:
        log(f"skipped {title}: {printable(unknown)} does not belong to any weight")
        return {}
    canonical = reader.to_canonical(arrays)
    misfit = next((name for name, array in canonical.items() if not fits_spec(name, array, spec)), None)
    if misfit is not None:
        shapes = f"{canonical[misfit].shape} instead of {spec.weights[misfit].shape}"
        log(f"skipped {title}: {misfit} has shape {shapes}{hint}")
        return {}
    return canonical
