"""The network of a weight file: its variant and the layout of its arrays, from metadata, names and shapes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from repro.arrays import Arrays
from repro.errors import ReproError
from repro.specs import Spec, find_spec
from repro.untrusted import printable
from repro.weights import Log
from repro.weights.checkpoint_groups import CheckpointGroups, common_prefix
from repro.weights.formats import KERAS, SAFETENSORS, extensions, native_names
from repro.weights.layouts import AUTO, Layout, identify_model, layout_named, recognise_layout

SMALLEST_NETWORK = 26  # arrays, in VGG16 without its head
MAX_NETWORKS = 4


@dataclass
class WeightFile:
    """A file that was read: its path, its format, its arrays under the names in the file, and its metadata."""

    path: Path
    format: str
    groups: CheckpointGroups
    metadata: dict[str, str]


def identify(
    source: WeightFile, model: str | None, options: Mapping[str, object] | None, layout: str, log: Log
) -> tuple[Spec, Mapping[str, object], Layout]:
    """Return the spec of the file's network, the options that make it, and the layout of its arrays.

    If the names fit nothing, the prefix that all of them share is removed from the source.
    """
    try:
        spec, chosen = _identify_spec(source, model, options, log)
        return spec, chosen, _choose_layout(source, spec, layout, log)
    except ReproError as error:
        prefix = common_prefix(source.groups.weights)
        if not prefix:
            if networks := _networks(source):
                count = "several networks" if len(networks) > 1 else "a network beside other arrays"
                shown = ", ".join(map(repr, networks))
                raise ReproError(f"{source.path} holds {count} ({shown}); choose one with --prefix") from None
            raise
        source.groups.remove_prefix(prefix)
        try:
            spec, chosen = _identify_spec(source, model, options, log)
            file_layout = _choose_layout(source, spec, layout, log)
        except ReproError:
            raise ReproError(f"{error} (every name begins with {printable(prefix)!r})") from None
        log(f"removed the prefix {printable(prefix)!r} from every name")
        return spec, chosen, file_layout


def _networks(source: WeightFile) -> list[str]:
    """Return the prefixes, as --prefix takes them, of the networks in a file, such as "teacher." and "student.".

    Only the largest groups of names are looked at, because each takes half a second.
    """
    networks: dict[str, Arrays] = {}
    for name, array in source.groups.weights.items():
        networks.setdefault(name.partition(".")[0], {})[name.partition(".")[2]] = array
    prefixes = []
    groups = ((first, arrays) for first, arrays in networks.items() if len(arrays) >= SMALLEST_NETWORK)
    for first, arrays in sorted(groups, key=lambda group: -len(group[1]))[:MAX_NETWORKS]:
        inner = common_prefix(arrays)
        with suppress(ReproError):
            identify_model({name.removeprefix(inner): a for name, a in arrays.items()}, source.format, source.path)
            prefixes.append(printable(f"{source.groups.prefix}{first}.{inner}"))
    return prefixes


def with_fitting_model(error: ReproError, source: WeightFile, spec: Spec) -> ReproError:
    """Return the error of arrays that do not fit `spec`, or one that names the variant that they fit."""
    try:
        model = identify_model(source.groups.weights, source.format, source.path)
    except ReproError:
        return error
    if model == spec.name:  # its names and shapes fit, and its values or dtypes do not
        return error
    return ReproError(f"{source.path} does not fit {spec.name}; it fits {model}: give --model {model}")


def _identify_spec(
    source: WeightFile, model: str | None, options: Mapping[str, object] | None, log: Log
) -> tuple[Spec, Mapping[str, object]]:
    """Return the spec of the file's network, and the options that make it, from the arguments, metadata or arrays."""
    saved_model = source.metadata.get("model")
    if options is None:
        options = _saved_options(source) if saved_model is not None and model in (None, saved_model) else {}
    if model is None:
        model = saved_model
    if model is None:
        model = identify_model(source.groups.weights, source.format, source.path)
        log(f"recognised the model: {model}")
    for option in {"num_classes", "in_channels"} & options.keys():
        raise ReproError(f"the arrays give {option}; leave it out of the options")
    return find_spec(model, **options), options


def _saved_options(source: WeightFile) -> dict[str, object]:
    """Return the model's options in the metadata."""
    try:
        options = json.loads(source.metadata.get("options", "{}"))
    except (ValueError, RecursionError) as error:
        raise ReproError(
            f"the options in the metadata of {source.path} are not JSON; give --model and --option"
        ) from error
    if not isinstance(options, dict):
        raise ReproError(f"the options in the metadata of {source.path} have no names; give --model and --option")
    return options


def _choose_layout(source: WeightFile, spec: Spec, name: str, log: Log) -> Layout:
    """Return the layout of this publisher or, for "auto", the one that the metadata name or the arrays have."""
    if name == AUTO:
        name = source.metadata.get("layout", AUTO)
    if name != AUTO:
        layout = layout_named(name, spec)
        check_format(layout, source.path, source.format)
    else:
        layouts, _ = recognise_layout(source.groups.weights, spec, source.format)
        layout = layouts[0]
        if layout.is_published:
            log(f"recognised the layout: {' or '.join(dict.fromkeys(layout.publisher for layout in layouts))}")
    arrays = layout.with_classifier(source.groups.weights, spec, native_names(layout.format))
    if others := ", ".join(sorted(source.groups.weights.keys() - arrays.keys())):
        log(f"took the classifier from {printable(others)}")
        source.groups.weights = dict(arrays)
    return layout


def check_format(layout: Layout, path: Path, form: str) -> None:
    """Raise ReproError where files of this format cannot hold the layout."""
    if form not in (layout.format, SAFETENSORS) or (form == SAFETENSORS and layout.format == KERAS):
        expected = ", ".join(extensions(layout.format))
        raise ReproError(f"{path} is a file of {form}, not of {layout.publisher}, whose files end in {expected}")
