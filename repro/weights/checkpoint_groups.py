"""What a checkpoint holds beside the weights: their moving averages, what the optimizer keeps of each, and how many
steps it made.

Canonically "weights/NAME", "ema/NAME", "optimizer/SLOT/NAME" and "optimizer/steps"; plain names where there are weights
alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from repro.arrays import Arrays
from repro.errors import ReproError

Log = Callable[[str], object]

# where the weights are in files that hold more; the first that is there is taken
WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "params", "weights")
AVERAGES = ("state_dict_ema", "ema_state_dict", "model_ema", "ema")
PREFIXES = ("module.", "_orig_mod.")  # of torch's DataParallel and torch.compile
# the slot of an optimizer -> what torch calls it in optimizer.state_dict(), and what MindSpore puts before the names
SLOTS = {
    "velocity": ("momentum_buffer", "moments"),
    "moment1": ("exp_avg", "moment1"),
    "moment2": ("exp_avg_sq", "moment2"),
    "square": ("square_avg", "mean_square"),
}
POWERS = ("beta1_power", "beta2_power")  # of Paddle's Adam, as slots of one number
STEPS = "global_step"  # MindSpore's counter, int32 of one element


@dataclass
class CheckpointGroups:
    """weights, ema and slots: arrays under the file's names; numbered: slot -> arrays of torch's optimizer by the
    number of the parameter; counts: what says how many steps were made; powers: POWERS -> what there is of them."""

    weights: Arrays = field(default_factory=dict)
    ema: Arrays = field(default_factory=dict)
    slots: dict[str, Arrays] = field(default_factory=dict)
    numbered: dict[str, dict[int, np.ndarray]] = field(default_factory=dict)
    counts: list[np.ndarray] = field(default_factory=list)
    powers: dict[str, list[np.ndarray]] = field(default_factory=dict)


def split_groups(arrays: Mapping[str, np.ndarray], log: Log) -> CheckpointGroups:
    """The groups of a file's arrays. `log` is told which was taken for what, and what was left out.

    Raises ReproError where it is not clear which arrays are the weights.
    """
    nested: dict[str, Arrays] = {}
    for name, array in arrays.items():
        group, _, leaf = name.rpartition("/")
        nested.setdefault(group, {})[leaf] = array
    groups = CheckpointGroups()
    outer = _flat_slots(nested.get("", {}), groups, log)
    if outer:
        nested[""] = outer
    last = {group.rpartition("/")[2]: group for group in nested}
    main = next((last[word] for word in ("", *WRAPPERS, *AVERAGES) if word in last and nested[last[word]]), None)
    if main is None and len(nested) == 1:
        (main,) = nested
    if main is None:
        raise ReproError(
            f"the file holds several groups of arrays ({', '.join(list(nested)[:8])}); save the weights alone"
        )
    groups.weights = _unprefixed(nested.pop(main), log)
    if main:
        log(f"took the weights under {main!r}")
    quiet = {"": None}
    average = next((last[word] for word in AVERAGES if last.get(word) in nested), None)
    if average:
        groups.ema = _unprefixed(nested.pop(average), quiet.get)
        log(f"took the moving averages under {average!r}")
    for group in [group for group in nested if group.partition("/")[0] in ("optimizer", "opt")]:
        _take_optimizer(group.partition("/")[2], nested[group], groups)
    left = sum(array.ndim > 0 for group in nested.values() for array in group.values())
    if left:
        log(f"left out {left} arrays beside them")
    return groups


def _take_optimizer(group: str, arrays: Arrays, groups: CheckpointGroups) -> None:
    """Moves what is known of an optimizer's arrays, "" for those that stand by themselves, into the groups."""
    number = re.fullmatch(r"state/(\d+)", group)
    if group in SLOTS:
        groups.slots[group] = dict(arrays)
        arrays.clear()
    elif group in POWERS:
        groups.powers[group] = list(arrays.values())
        arrays.clear()
    elif number:
        for word, (torchs, _) in SLOTS.items():
            if torchs in arrays:
                groups.numbered.setdefault(word, {})[int(number[1])] = arrays.pop(torchs)
    counter = "steps" if not group else "step" if number else None
    if counter in arrays:
        groups.counts.append(arrays.pop(counter))


def _flat_slots(arrays: Arrays, groups: CheckpointGroups, log: Log) -> Arrays:
    """MindSpore keeps an optimizer's arrays and averages beside the weights, as "moments.NAME", and its counter and
    settings among them, such as "learning_rate"; returns the others."""
    rest = {}
    for name, array in arrays.items():
        prefix, _, leaf = name.partition(".")
        slot = next((slot for slot, (_, mindspores) in SLOTS.items() if prefix == mindspores), None)
        if slot:
            groups.slots.setdefault(slot, {})[leaf] = array
        elif prefix == "ema" and leaf in arrays:
            groups.ema[leaf] = array
        else:
            rest[name] = array
    numbers = [name for name, array in rest.items() if groups.slots and array.size == 1 and "." not in name]
    others = {name: array for name, array in rest.items() if name not in numbers}
    if STEPS in numbers:
        groups.counts.append(rest[STEPS])
        numbers.remove(STEPS)
    if numbers:
        log(f"left out {len(numbers)} settings of the optimizer: {', '.join(numbers[:4])}")
    return others


def join_groups(
    weights: Arrays, averages: Arrays, slots: Mapping[str, Arrays], steps: int | None, *, flat: bool
) -> Arrays:
    """One dictionary for a file; flat: with MindSpore's prefixes instead of nested dictionaries."""
    if flat:
        extra = {f"ema.{name}": array for name, array in averages.items()}
        for slot, arrays in slots.items():
            extra |= {f"{SLOTS[slot][1]}.{name}": array for name, array in arrays.items()}
        return weights | extra | ({} if steps is None else {STEPS: np.array([steps], np.int32)})
    if not averages and not slots:
        return weights
    extra = {f"ema/{name}": array for name, array in averages.items()}
    for slot, arrays in slots.items():
        extra |= {f"optimizer/{slot}/{name}": array for name, array in arrays.items()}
    extra |= {} if steps is None else {"optimizer/steps": np.array(steps, np.int64)}
    return {f"weights/{name}": array for name, array in weights.items()} | extra


def _unprefixed(arrays: Arrays, log: Log) -> Arrays:
    """Without the prefixes that wrappers of models put before every name."""
    for prefix in PREFIXES:
        if arrays and all(name.startswith(prefix) for name in arrays):
            log(f"took the prefix {prefix!r} off every name")
            arrays = {name.removeprefix(prefix): array for name, array in arrays.items()}
    return arrays
