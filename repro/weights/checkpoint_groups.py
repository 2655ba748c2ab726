"""The groups of arrays in a checkpoint file: weights, their EMA, the optimizer's slots and its step count.

A canonical file names them "weights/NAME", "ema/NAME", "optimizer/SLOT/NAME" and "optimizer/steps"; a file that holds
only weights has plain names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from typing import NamedTuple

import numpy as np

from repro.arrays import Arrays
from repro.errors import ReproError, counted
from repro.untrusted import printable
from repro.weights import Log
from repro.weights.pickled_tree import TreeArrays


class SlotNames(NamedTuple):
    """Native names of an optimizer's slot."""

    torch: str  # the key in the state of optimizer.state_dict()
    mindspore: str  # the prefix of parameter names


# groups that hold the weights in files with several groups; the first one present is used
WEIGHT_GROUPS = ("state_dict", "model_state_dict", "model", "net", "network", "params", "weights")
EMA_GROUPS = ("state_dict_ema", "ema_state_dict", "model_ema", "ema")
# the same for an optimizer; the names with a number are the first of a list, as in Lightning
OPTIMIZER_GROUPS = (
    "optimizer", "optimizer_state_dict", "opt", "optim", "optim_state_dict", "optimizer_states/0", "optimizers/0",
)  # fmt: skip
# attributes in which wrappers keep a network: torch's DataParallel, AveragedModel and compile, Lightning modules, and
# MindSpore's cells with a loss
WRAPPERS = ("module", "_orig_mod", "model", "net", "network", "backbone", "_backbone")
SLOTS = {
    "velocity": SlotNames("momentum_buffer", "moments"),
    "moment1": SlotNames("exp_avg", "moment1"),
    "moment2": SlotNames("exp_avg_sq", "moment2"),
    "square": SlotNames("square_avg", "mean_square"),
}
OTHER_SLOTS = {"adam_m": "moment1", "adam_v": "moment2"}  # prefix of MindSpore's AdamWeightDecay -> slot
STEP_COUNTER = "global_step"  # MindSpore's step count: int32 (1,)
BETA_POWERS = ("beta1_power", "beta2_power")  # names in Paddle's Adam, one number per parameter
# scalars beside the weights of each layer: of torch's normalisations, also as floating-point numbers where somebody
# converted the whole state dict, and of the package thop, which counts operations
COUNTERS = ("num_batches_tracked", "total_ops", "total_params")
EXTRA_STATE = "_extra_state"  # what get_extra_state of a torch.nn.Module returns


@dataclass
class CheckpointGroups:
    """The arrays of a file by purpose, under the names that the file gives them.

    weights, ema, and slots (slot -> arrays): by name. prefix: the text that was removed from the names of the weights.
    numbered_slots: slot -> arrays of torch's optimizer by the number of the parameter. step_counters: one, or one per
    parameter. beta_powers: BETA_POWERS -> one number per parameter. ema_group: the name of the group that holds the
    EMA.
    """

    weights: Arrays = field(default_factory=dict)
    prefix: str = ""
    ema: Arrays = field(default_factory=dict)
    ema_group: str = "ema"
    slots: dict[str, Arrays] = field(default_factory=dict)
    numbered_slots: dict[str, dict[int, np.ndarray]] = field(default_factory=dict)
    step_counters: list[np.ndarray] = field(default_factory=list)
    beta_powers: dict[str, list[np.ndarray]] = field(default_factory=dict)

    def remove_prefix(self, prefix: str) -> None:
        """Remove a prefix from the names of the weights, of their EMA and of the optimizer's slots."""
        self.prefix += prefix
        self.weights = {name.removeprefix(prefix): array for name, array in self.weights.items()}
        self.ema = {name.removeprefix(prefix): array for name, array in self.ema.items()}
        for slot, arrays in self.slots.items():
            self.slots[slot] = {name.removeprefix(prefix): array for name, array in arrays.items()}


def has_optimizer(arrays: Mapping[str, np.ndarray]) -> bool:
    """Return whether a file's arrays include a group of an optimizer."""
    return any(name.startswith(tuple(f"{group}/" for group in OPTIMIZER_GROUPS)) for name in arrays)


def split_groups(arrays: Mapping[str, np.ndarray], log: Log, prefix: str | None = None) -> CheckpointGroups:
    """Sort the arrays of a file into groups. `log` receives a line about each group that is read or skipped.

    prefix: the text before the name of every weight, or ""; by default the prefixes of usual wrappers are removed.
    Raises ReproError where it is unclear which arrays are the weights, and where no weight has the prefix.
    """
    nested: dict[str, Arrays] = {}
    for name, array in arrays.items():
        group, _, leaf = name.rpartition("/")
        nested.setdefault(group, {})[leaf] = array
    groups = CheckpointGroups()
    if top_level := _without_flat_groups(nested.get("", {}), groups, log):
        nested[""] = top_level
    weight_group = _weight_group(nested, arrays.unread if isinstance(arrays, TreeArrays) else {})
    if weight_group:
        log(f"read the weights under {weight_group!r}")
    weights = _without_counters(nested.pop(weight_group), log)
    if prefix is None:
        weights, prefix = _without_wrappers(weights, log)
    elif prefix:
        weights = _under_prefix(weights, prefix, log)
    ema_group = _first_group(EMA_GROUPS, nested)
    if ema_group:
        groups.ema_group = ema_group
        groups.ema = _without_counters(nested.pop(ema_group), _silent)
    groups.ema, _ = _without_wrappers(groups.ema, _silent)
    groups.remove_prefix(prefix)
    groups.weights = weights
    taken: set[str] = set()
    for outer in OPTIMIZER_GROUPS:
        inside = [group for group in nested if f"{group}/".startswith(f"{outer}/")]
        slots = {
            slot for group in inside for slot, names in SLOTS.items()
            if group == f"{outer}/{slot}" or names.torch in nested[group]
        }  # fmt: skip
        if slots.isdisjoint(taken):  # otherwise, it is the optimizer of another network
            for group in inside:
                _take_optimizer(group.removeprefix(outer).removeprefix("/"), nested[group], groups)
            taken |= slots
    skipped = [f"{group}/{name}" for group, rest in nested.items() for name, array in rest.items() if array.ndim]
    if skipped:
        more = ", ..." if len(skipped) > 1 else ""
        log(f"skipped {counted(len(skipped), 'other array')}: {printable(skipped[0])}{more}")
    return groups


def _weight_group(nested: Mapping[str, Arrays], unread: Mapping[str, str]) -> str:
    """Return the group that holds the weights. Raises ReproError where that is unclear, or a tensor in it is not read.

    unread: as in TreeArrays.
    """
    group = _first_group(("", *WEIGHT_GROUPS, *EMA_GROUPS), nested)
    candidates = [name for name, arrays in nested.items() if _has_weights(arrays)]
    if group is None and len(candidates) == 1:
        (group,) = candidates
    is_optimizer = all(re.fullmatch(r"(optimizer/|state/\d).*", f"{name}/") for name in candidates or [""])
    if unread and (group is None or group in unread or is_optimizer):
        raise ReproError(unread.get(group or "", next(iter(unread.values()))))
    if is_optimizer:
        raise ReproError("the file holds the state of an optimizer and no weights; give the file of the weights")
    if group is None:
        raise ReproError(
            f"the file holds several groups of arrays ({', '.join(list(nested)[:8])}), and it is unclear which are the "
            "weights; save only the state dict"
        )
    return group


def _first_group(names: tuple[str, ...], nested: Mapping[str, Arrays]) -> str | None:
    """Return the full name of the first of the named groups that holds arrays."""
    by_last_name = {group.rpartition("/")[2]: group for group in nested if _has_weights(nested[group])}
    return next((by_last_name[name] for name in names if name in by_last_name), None)


def _has_weights(arrays: Arrays) -> bool:
    """Return whether a group can be weights: metrics and counters next to the weights are only scalars."""
    return any(array.size > 1 for array in arrays.values())


def _take_optimizer(group: str, arrays: Arrays, groups: CheckpointGroups) -> None:
    """Move the arrays of an optimizer that are understood from `arrays` to `groups`.

    group: the name inside the optimizer, or "" for its top level.
    """
    parameter = re.fullmatch(r"state/(\d+)", group)
    if group in SLOTS:
        groups.slots[group] = dict(arrays)
        arrays.clear()
    elif group in BETA_POWERS:
        groups.beta_powers[group] = list(arrays.values())
        arrays.clear()
    elif parameter:
        for slot, names in SLOTS.items():
            if names.torch in arrays:
                groups.numbered_slots.setdefault(slot, {})[int(parameter[1])] = arrays.pop(names.torch)
    counter = "steps" if not group else "step" if parameter else None
    if counter in arrays:
        groups.step_counters.append(arrays.pop(counter))


def _without_flat_groups(arrays: Arrays, groups: CheckpointGroups, log: Log) -> Arrays:
    """Move what MindSpore keeps next to the weights to `groups`, and return the remaining arrays.

    These are the optimizer's arrays and the EMA, with prefixes as in "moments.NAME", the step counter, and settings
    such as "learning_rate", which are skipped.
    """
    remaining, unknown = {}, []
    slot_names = {names.mindspore: slot for slot, names in SLOTS.items()} | OTHER_SLOTS
    if any(name.startswith("stat.") for name in arrays):  # of nn.SGD; the accum of nn.Adagrad is another quantity
        slot_names["accum"] = "velocity"
    for name, array in arrays.items():
        prefix, _, leaf = name.partition(".")
        if prefix in slot_names:
            groups.slots.setdefault(slot_names[prefix], {})[leaf] = array
        elif prefix == "ema" and leaf in arrays:
            groups.ema[leaf] = array
        elif leaf in arrays and arrays[leaf].shape == array.shape and leaf not in COUNTERS:
            unknown.append(name)
        else:
            remaining[name] = array
    if unknown:
        log(f"skipped {counted(len(unknown), 'other array')} of the optimizer: {printable(unknown[0])}, ...")
    has_slots = bool(groups.slots or unknown)
    scalars = [name for name, array in remaining.items() if has_slots and array.size == 1 and "." not in name]
    weights = {name: array for name, array in remaining.items() if name not in scalars}
    if STEP_COUNTER in scalars:
        groups.step_counters.append(remaining[STEP_COUNTER])
        scalars.remove(STEP_COUNTER)
    if scalars:
        log(f"skipped {counted(len(scalars), 'setting')} of the optimizer: {', '.join(scalars[:4])}")
    return weights


def _silent(line: str) -> None:
    """Log nothing: what is known of the weights need not be logged again for their EMA."""


def _without_counters(arrays: Arrays, log: Log) -> Arrays:
    """Drop the integer scalars that frameworks keep with the weights, other counters, and extra states of modules."""
    scalars = [name for name, array in arrays.items() if array.size == 1]
    integers = [name for name in scalars if np.issubdtype(arrays[name].dtype, np.integer)]
    others = [name for name in scalars if name not in set(integers) and name.rpartition(".")[2] in COUNTERS]
    states = [name for name in arrays if name.rpartition(".")[2] == EXTRA_STATE and name not in set(integers)]
    for counters, kind in ((integers, "integer scalar"), (others, "counter"), (states, "extra state")):
        if len(counters) == 1:
            log(f"skipped 1 {kind}, which is not a weight: {printable(counters[0])}")
        elif counters:
            log(f"skipped {counted(len(counters), kind)}, which are not weights: {printable(counters[0])}, ...")
    dropped = {*integers, *others, *states}
    return {name: array for name, array in arrays.items() if name not in dropped}


def _without_wrappers(arrays: Arrays, log: Log) -> tuple[Arrays, str]:
    """Remove the attributes of wrappers before the names, however many, and return the arrays and the prefix.

    Arrays of the wrapper itself, such as the weights of its loss, are left out if most arrays belong to the network.
    """
    prefix = ""
    while True:
        counts = {wrapper: sum(name.startswith(f"{wrapper}.") for name in arrays) for wrapper in WRAPPERS}
        wrapper = max(WRAPPERS, key=lambda word: counts[word])
        if counts[wrapper] <= len(arrays) / 2:
            return arrays, prefix
        arrays = _under_prefix(arrays, f"{wrapper}.", log)
        prefix += f"{wrapper}."


def _under_prefix(arrays: Arrays, prefix: str, log: Log) -> Arrays:
    """Return the arrays whose names begin with the prefix, without it. Raises ReproError where there are none."""
    inside = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    if not inside:
        raise ReproError(f"no array has the prefix {prefix!r}; the first name is {printable(next(iter(arrays), ''))}")
    outside = [name for name in arrays if not name.startswith(prefix)]
    if outside:
        shown = ", ".join(printable(name) for name in outside[:4])
        number = counted(len(outside), "array")
        log(f"removed the prefix {printable(prefix)!r}, and left out {number} without it: {shown}")
    else:
        log(f"removed the prefix {printable(prefix)!r} from every name")
    return inside


def common_prefix(arrays: Arrays) -> str:
    """Return the attributes, up to the last ".", with which all names begin."""
    levels = zip(*(name.split(".")[:-1] for name in arrays), strict=False)
    return "".join(f"{level[0]}." for level in takewhile(lambda level: len(set(level)) == 1, levels))


def join_groups(weights: Arrays, ema: Arrays, slots: Mapping[str, Arrays], steps: int | None, *, flat: bool) -> Arrays:
    """Return one dictionary for a file.

    flat: prefix names as MindSpore does ("moments.NAME") instead of nesting groups ("optimizer/velocity/NAME").
    """
    if flat:
        extra = {f"ema.{name}": array for name, array in ema.items()}
        for slot, arrays in slots.items():
            extra |= {f"{SLOTS[slot].mindspore}.{name}": array for name, array in arrays.items()}
        return weights | extra | ({} if steps is None else {STEP_COUNTER: np.array([steps], np.int32)})
    if not ema and not slots:
        return weights
    extra = {f"ema/{name}": array for name, array in ema.items()}
    for slot, arrays in slots.items():
        extra |= {f"optimizer/{slot}/{name}": array for name, array in arrays.items()}
    extra |= {} if steps is None else {"optimizer/steps": np.array(steps, np.int64)}
    return {f"weights/{name}": array for name, array in weights.items()} | extra
