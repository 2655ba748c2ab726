"""Convert the weights of a user's own network between frameworks, by a mapping file. Needs no framework.

The mapping gives the names and the kinds of the weights; the kinds give the order of the axes.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path

import numpy as np

from repro.arrays import Arrays
from repro.errors import ReproError, counted, unknown
from repro.interface.discovery import backend_of
from repro.interface.native_names import NativeNames
from repro.specs import Weight
from repro.untrusted import printable
from repro.weights import Log
from repro.weights.checkpoint_groups import common_prefix, split_groups
from repro.weights.formats import (
    SAFETENSORS,
    extensions,
    file_format,
    native_names,
    read_file,
    source_format,
    source_path,
    write_file,
)
from repro.weights.layouts import AUTO
from repro.weights.mapping_file import ModelMapping, checked_pairs, read_mapping
from repro.weights.pickled_tree import left_out_line
from repro.weights.strict import mismatches
from repro.weights.weight_pairs import (
    Pair,
    convert,
    layers_in_both,
    neutral_value,
    owner_name,
    pair_errors,
    unpaired,
)


def port_by_mapping(
    source: Path,
    destination: Path,
    mapping_file: Path,
    *,
    framework: str = AUTO,
    to: str | None = None,
    prefix: str | None = None,
    partial: bool = False,
    log: Log = print,
) -> None:
    """Read the weights of one model of a mapping, and write them, bit for bit, as those of another one of its models.

    Weights are joined, divided and reshaped as they are paired. A weight that only the other model has is 0, or 1 for a
    scale, and one that only this model has must have that value; layers that only one model has are left out.

    framework: the backend whose model `source` belongs to (default: recognised by the names in the file). to: the
    backend whose model `destination` is for (default: the one that its extension names). prefix: the text before the
    name of every weight in the source (default: recognised). partial: leave out arrays that do not fit, each of which
    is otherwise an error.
    log: receives a line about everything that is recognised, left out or written.
    Raises ReproError for a mapping that does not pair all weights, and for arrays that do not fit it, with each name.
    """
    mapping = read_mapping(mapping_file)
    if not mapping.reference:
        raise ReproError(
            f"{mapping_file} does not list the kinds and shapes of the weights; run repro.parity with --mapping "
            f"{mapping_file} and both models, which adds them"
        )
    target = _target(mapping_file, mapping, destination, to)
    source = source_path(source)
    contents, _ = read_file(source)
    if line := left_out_line(contents):
        log(line)
    groups = split_groups(contents, log, prefix or "")
    if groups.ema:
        log("left out: the EMA, because a mapping converts only weights")
    if groups.slots or groups.numbered_slots:
        log("left out: the optimizer, because a mapping converts only weights")
    origin, found_prefix = _recognise(source, groups.weights, mapping, mapping_file, framework, prefix)
    if found_prefix:
        groups.remove_prefix(found_prefix)
        log(f"removed the prefix {printable(found_prefix)!r} from every name")
    pairs = _pairs(mapping_file, mapping, origin, target)
    arrays = _checked(
        groups.weights,
        source,
        mapping_file,
        mapping.weights[origin],
        native_names(backend_of(origin)),
        log,
        partial=partial,
    )
    canonical = _canonical(arrays, native_names(backend_of(origin)), mapping.weights[origin])
    for step in pairs:
        canonical = _carry(canonical, *step, log)
    converted = _native(canonical, native_names(backend_of(target)), mapping.weights[target])
    log(f"read {source}: the model of {origin} in {mapping_file}, {counted(len(arrays), 'array')}")
    write_file(destination, converted, {})
    log(f"wrote {destination} for the model of {target}: weights")


def _target(mapping_file: Path, mapping: ModelMapping, destination: Path, to: str | None) -> str:
    """Return the backend of the model that the destination is for."""
    form = file_format(destination)
    models = [label for label in mapping.weights if backend_of(label) == form]
    if not to and len(models) > 1:
        raise ReproError(f"{mapping_file} has several models of {form}; give --to {' or '.join(models)}")
    target = to or form
    if target == SAFETENSORS:
        raise ReproError(f"{destination} can be for any framework; give --to {' or '.join(mapping.weights)}")
    if target not in mapping.weights:
        raise ReproError(
            f"{mapping_file} has no model of {target}, only of {' and '.join(mapping.weights)}; run repro.parity with "
            f"--{target}, too, and another --mapping"
        )
    if form not in (backend_of(target), SAFETENSORS):
        expected = ", ".join(extensions(backend_of(target)))
        raise ReproError(f"{destination} is a file of {form}, not of {target}, whose files end in {expected}")
    return target


def _recognise(
    source: Path,
    arrays: Arrays,
    mapping: ModelMapping,
    mapping_file: Path,
    framework: str,
    prefix: str | None,
) -> tuple[str, str]:
    """Return the backend whose model has most of the names, and the prefix before these names in the file.

    Where several models have the same names, the format of the file decides. prefix: that has been removed already;
    None where it is to be recognised.
    """
    if framework not in (AUTO, *mapping.weights):
        raise unknown(f"model in {mapping_file}:", framework, mapping.weights)
    levels = common_prefix(arrays).split(".")[:-1] if prefix is None else []
    prefixes = ["", *accumulate(f"{level}." for level in levels)]
    form = source_format(source)
    candidates = {}
    for backend in mapping.weights if framework == AUTO else [framework]:
        names = native_names(backend_of(backend)).native_shapes(mapping.weights[backend])
        for candidate in prefixes:
            candidates[backend, candidate] = sum(f"{candidate}{name}" in arrays for name in names)
    most = max(candidates.values())
    best = [key for key, count in candidates.items() if count == most]
    if not most:
        first = printable(next(iter(arrays), ""))
        raise ReproError(f"{source} has none of the names in {mapping_file}; its first is {first}")
    best = [key for key in best if backend_of(key[0]) == form] or best
    if len({backend for backend, _ in best}) > 1:
        raise ReproError(
            f"{source} fits the models of {' and '.join(backend for backend, _ in best)}; give --from {best[0][0]}, "
            "or another of them"
        )
    return best[0]


def _pairs(
    mapping_file: Path, mapping: ModelMapping, origin: str, target: str
) -> list[tuple[list[Pair], dict[str, Weight], dict[str, Weight]]]:
    """Return the steps from the model of `origin` to that of `target`, by way of the reference.

    A step has pairs of weights and the weights of both models. Raises ReproError unless the pairs cover all weights.
    """
    reference = mapping.weights[mapping.reference]
    steps = []
    errors = []
    for backend in (origin, target):
        if backend != mapping.reference:
            weights = mapping.weights[backend]
            pairs = checked_pairs(mapping_file, mapping, backend, reference, weights)
            errors += [f"{backend}: {error}" for error in pair_errors(reference, weights, pairs)]
            is_first = backend == origin
            reverse = [pair.reverse for pair in pairs]
            steps.append((reverse, weights, reference) if is_first else (pairs, reference, weights))
    if errors:
        raise ReproError(f"{mapping_file} does not pair all weights: {'; '.join(dict.fromkeys(errors))}; correct it")
    return [] if origin == target else steps


def _checked(
    arrays: Arrays,
    source: Path,
    mapping_file: Path,
    weights: Mapping[str, Weight],
    native: NativeNames,
    log: Log,
    *,
    partial: bool,
) -> Arrays:
    """Return the arrays by canonical name with the axes of the file, all of them or, if partial, those that fit.

    Raises ReproError that lists every missing, unexpected and misshapen array.
    """
    file_names = {name: native.name(name, weight) for name, weight in weights.items()}
    expected = {file_names[name]: Weight(native.native_shape(weight), "other") for name, weight in weights.items()}
    errors = list(mismatches(arrays, expected))
    if errors and not partial:
        raise ReproError(
            f"{source} does not fit {mapping_file}; {counted(len(errors), 'mismatch', 'mismatches')} in "
            f"{len(weights)} weights: {'; '.join(errors)}; "
            "run repro.parity --mapping with models of these weights, or leave out what does not "
            "fit with --partial"
        )
    for error in errors:
        log(f"partial: {error}")

    def fits(file_name: str) -> bool:
        return not any(mismatches({file_name: arrays[file_name]}, {file_name: expected[file_name]}))

    return {
        name: arrays[file_name]
        for name, file_name in file_names.items()
        if not errors or (file_name in arrays and fits(file_name))
    }


def _canonical(arrays: Arrays, native: NativeNames, weights: Mapping[str, Weight]) -> Arrays:
    return {name: native.to_canonical_axes(array, weights[name]) for name, array in arrays.items()}


def _native(arrays: Arrays, native: NativeNames, weights: Mapping[str, Weight]) -> Arrays:
    return {
        native.name(name, weights[name]): np.asarray(native.to_native_axes(array, weights[name]), order="C")
        for name, array in arrays.items()
    }


def _carry(
    arrays: Arrays, pairs: list[Pair], weights: Mapping[str, Weight], other_weights: Mapping[str, Weight], log: Log
) -> Arrays:
    """Return canonical arrays of one model as those of another one.

    Raises ReproError for a weight that the other model lacks, in a layer that it has, and that is not neutral.
    """
    converted = convert(arrays, pairs, {name: weight.shape for name, weight in other_weights.items()})
    extra, missing = unpaired(pairs)
    layers, other_layers = layers_in_both(pairs)
    for name in extra:
        value = neutral_value(name, weights[name])
        if name in arrays and owner_name(name) in layers and value is not None and np.any(arrays[name] != value):
            raise ReproError(f"{name} is not {value:g} everywhere, and the other model has no such weight")
    dtype = next(iter(arrays.values())).dtype if arrays else np.dtype(np.float32)
    added = {
        name: np.full(other_weights[name].shape, value, dtype)
        for name in missing
        if owner_name(name) in other_layers and (value := neutral_value(name, other_weights[name])) is not None
    }
    if left_out := [name for name in missing if name not in added]:
        arrays_left_out = counted(len(left_out), "array")
        log(f"not in the source: {arrays_left_out} of layers that only the other model has: {left_out[0]}, ...")
    return converted | added
