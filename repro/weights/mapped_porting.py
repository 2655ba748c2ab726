"""Convert the weights of a user's own network between frameworks, by a mapping file. Needs no framework.

The mapping gives the names and the kinds of the weights; the kinds give the order of the axes.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path

import numpy as np

from repro.arrays import Arrays
from repro.errors import ReproError, unknown
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
from repro.weights.mapping_file import ModelMapping, check_names, mapping_errors, read_mapping
from repro.weights.pickled_tree import left_out_line
from repro.weights.strict import mismatches


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

    framework: whose model `source` is of; by default, the names in the file tell. to: whose model `destination` is
    for; by default, the extension tells. prefix: the text before the name of every weight in the source; by default it
    is recognised. partial: leave out arrays that do not fit, where otherwise each of them is an error.
    log: receives a line about everything that is recognised, left out or written.
    Raises ReproError for a mapping that does not pair all weights, and for arrays that do not fit it, with each name.
    """
    mapping = read_mapping(mapping_file)
    if not mapping.reference:
        raise ReproError(
            f"{mapping_file} does not say the kinds and shapes of the weights; run repro.parity with --mapping "
            f"{mapping_file} and both models, and it is brought up to date"
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
    arrays = _checked(groups.weights, source, mapping_file, mapping.weights[origin], native_names(origin), partial, log)
    converted = _convert(arrays, pairs, mapping.weights, origin, target)
    log(f"read {source}: the model of {origin} in {mapping_file}, {len(arrays)} arrays")
    write_file(destination, converted, {})
    log(f"wrote {destination} for the model of {target}: weights")


def _target(mapping_file: Path, mapping: ModelMapping, destination: Path, to: str | None) -> str:
    """Return the backend of the model that the destination is for."""
    form = file_format(destination)
    target = to or form
    if target == SAFETENSORS:
        raise ReproError(f"{destination} can be for any framework; give --to {' or '.join(mapping.weights)}")
    if target not in mapping.weights:
        raise ReproError(
            f"{mapping_file} has no model of {target}, only of {' and '.join(mapping.weights)}; run repro.parity with "
            f"--{target}, too, and another --mapping"
        )
    if form not in (target, SAFETENSORS):
        expected = ", ".join(extensions(target))
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
    """Return the backend whose model has most of the names, and the prefix that they have besides.

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
        names = native_names(backend).native_shapes(mapping.weights[backend])
        for candidate in prefixes:
            candidates[backend, candidate] = sum(f"{candidate}{name}" in arrays for name in names)
    most = max(candidates.values())
    best = [key for key, count in candidates.items() if count == most]
    if not most:
        first = printable(next(iter(arrays), ""))
        raise ReproError(f"{source} has none of the names in {mapping_file}; its first is {first}")
    best = [key for key in best if key[0] == form] or best
    if len({backend for backend, _ in best}) > 1:
        raise ReproError(
            f"{source} fits the models of {' and '.join(backend for backend, _ in best)}; give --from {best[0][0]}, "
            "or another of them"
        )
    return best[0]


def _pairs(mapping_file: Path, mapping: ModelMapping, origin: str, target: str) -> dict[str, str]:
    """Return the canonical names in the model of `origin` -> those in the model of `target`.

    Raises ReproError unless every weight has exactly one counterpart, which has its shape.
    """
    reference = mapping.weights[mapping.reference]
    names: dict[str, dict[str, str]] = {}
    errors = []
    for backend in (origin, target):
        if backend == mapping.reference:
            names[backend] = {name: name for name in reference}
            continue
        counterparts = check_names(mapping_file, mapping, backend, reference, mapping.weights[backend])
        errors += [f"{backend}: {error}" for error in mapping_errors(reference, mapping.weights[backend], counterparts)]
        names[backend] = {name: other for name, other in counterparts.items() if other is not None}
    if errors:
        raise ReproError(f"{mapping_file} does not pair all weights: {'; '.join(dict.fromkeys(errors))}; correct it")
    return {names[origin][name]: names[target][name] for name in reference}


def _checked(
    arrays: Arrays,
    source: Path,
    mapping_file: Path,
    weights: Mapping[str, Weight],
    native: NativeNames,
    partial: bool,
    log: Log,
) -> Arrays:
    """Return the arrays by canonical name with the axes of the file, all of them or, if partial, those that fit.

    Raises ReproError that lists every missing, unexpected and misshapen array.
    """
    file_names = {name: native.name(name, weight) for name, weight in weights.items()}
    expected = {file_names[name]: Weight(native.native_shape(weight), "other") for name, weight in weights.items()}
    errors = list(mismatches(arrays, expected))
    if errors and not partial:
        raise ReproError(
            f"{source} does not fit {mapping_file}; {len(errors)} mismatches in {len(weights)} weights: "
            f"{'; '.join(errors)}; run repro.parity --mapping with models of these weights, or leave out what does not "
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


def _convert(
    arrays: Arrays,
    pairs: Mapping[str, str],
    weights: Mapping[str, Mapping[str, Weight]],
    origin: str,
    target: str,
) -> Arrays:
    """Return arrays by canonical name in one model under the native names of another one, with its axes."""
    source_native, target_native = native_names(origin), native_names(target)
    converted = {}
    for name, other in pairs.items():
        if name in arrays:
            canonical = source_native.to_canonical_axes(arrays[name], weights[origin][name])
            array = target_native.to_native_axes(canonical, weights[target][other])
            converted[target_native.name(other, weights[target][other])] = np.asarray(array, order="C")
    return converted
