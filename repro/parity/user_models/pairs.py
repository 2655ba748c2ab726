"""The pairs of the weights of user models: from a mapping file, and for the rest by the order in which layers run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from repro.errors import ReproError
from repro.parity.user_models.packing import pair_weights
from repro.parity.user_models.weight_entry import WeightEntry
from repro.weights.mapping_file import SEPARATOR, ModelMapping, checked_pairs, read_mapping, write_mapping
from repro.weights.weight_pairs import Pair, pair_errors

MAX_ERRORS_SHOWN = 8
NO_INFLUENCE = "does not influence the output"
Entries = Mapping[str, Sequence[WeightEntry]]  # backend -> weights of its model in the order of execution


def find_pairs(
    entries: Entries,
    mapping_file: Path | None,
    without_influence: Callable[[str, list[str]], list[str]],
    settle_doubts: Callable[[str, list[Pair]], list[Pair]],
    print_line: Callable[[str], object],
) -> tuple[dict[str, list[Pair]], dict[str, ReproError]]:
    """The pairs of the first model's weights with those of each other model, and errors of models without all of them.

    mapping_file: read if it exists, and written if it lacks anything. without_influence: returns those weights among
    some of a backend's model that do not influence its output, as in auxiliary heads; they need no counterpart.
    settle_doubts: returns the pairs of a backend's model after doubtful ones were tried.
    """
    first, *others = entries
    weights = {backend: {entry.name: entry.weight for entry in of_model} for backend, of_model in entries.items()}
    mapping = read_mapping(mapping_file) if mapping_file and mapping_file.exists() else ModelMapping({})
    pairs = dict(mapping.pairs)
    errors: dict[str, ReproError] = {}
    for backend in others:
        chosen: list[Pair] = []
        if mapping_file and mapping.pairs:
            chosen = checked_pairs(mapping_file, mapping, backend, weights[first], weights[backend])
        of_backend = _complete_pairs(chosen, entries[first], entries[backend])
        extra, own_extra = _extra_names(of_backend, weights[first], weights[backend])
        of_backend += [Pair((name,), (), NO_INFLUENCE) for name in without_influence(first, extra)]
        of_backend += [Pair((), (name,), NO_INFLUENCE) for name in without_influence(backend, own_extra)]
        if messages := list(pair_errors(weights[first], weights[backend], of_backend)):
            errors[backend] = _pairing_error(backend, messages, {n: entries[n] for n in (first, backend)}, mapping_file)
        elif any(pair.doubt and pair.doubt != NO_INFLUENCE for pair in of_backend):
            of_backend = settle_doubts(backend, of_backend)
        pairs[backend] = of_backend
    if mapping_file and (pairs != mapping.pairs or any(mapping.weights.get(name) != weights[name] for name in entries)):
        write_mapping(mapping_file, ModelMapping(pairs, mapping.weights | weights))
        if mapping.pairs:
            print_line(f"brought {mapping_file} up to date")
    return {backend: pairs[backend] for backend in others}, errors


def _complete_pairs(chosen: list[Pair], left: Sequence[WeightEntry], right: Sequence[WeightEntry]) -> list[Pair]:
    """The chosen pairs, and pairs of all other weights, in the order of the left model."""
    used = {name for pair in chosen for name in pair.left}
    own_used = {name for pair in chosen for name in pair.right}
    pairs = chosen + pair_weights(
        [entry for entry in left if entry.name not in used], [entry for entry in right if entry.name not in own_used]
    )
    positions = {entry.name: index for index, entry in enumerate(left)}
    return sorted(pairs, key=lambda pair: positions[pair.left[0]] if pair.left else len(left))


def _extra_names(
    pairs: Sequence[Pair], left: Mapping[str, object], right: Mapping[str, object]
) -> tuple[list[str], list[str]]:
    """The names of the weights of each of two models that are in no pair."""
    used = {name for pair in pairs for name in pair.left}
    own_used = {name for pair in pairs for name in pair.right}
    return [name for name in left if name not in used], [name for name in right if name not in own_used]


def _pairing_error(backend: str, messages: Sequence[str], entries: Entries, mapping_file: Path | None) -> ReproError:
    hidden = len(messages) - MAX_ERRORS_SHOWN
    shown = [f"{backend}: {message}" for message in messages[:MAX_ERRORS_SHOWN]]
    if hidden > 0:
        shown[-1] += f" and {hidden} more"
    shared = [
        f"{owner}: {entry.name} is shared with {', '.join(entry.aliases)}"
        for owner, of_model in entries.items()
        for entry in of_model
        if entry.aliases
    ]
    remedy = f"correct {mapping_file}" if mapping_file else "give --mapping FILE, and correct what is written there"
    return ReproError(
        f"weights cannot be paired: {'; '.join(shown + shared[:MAX_ERRORS_SHOWN])}; {remedy} "
        "(`NAME: null` for a weight that the other model lacks)"
    )


def mapping_table(entries: Entries, pairs: Mapping[str, Sequence[Pair]]) -> Iterator[str]:
    """A line for each weight of the first model, and for each weight that only another model has."""
    first = next(iter(entries))
    rows = [[first, "shape", "kind", *pairs]]
    cells_of = {backend: dict(_cells(of_backend)) for backend, of_backend in pairs.items()}
    for entry in entries[first]:
        cells = [of_backend.get(entry.name, "NO COUNTERPART") for of_backend in cells_of.values()]
        rows.append([entry.name, "x".join(map(str, entry.shape)), entry.kind, *cells])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
    for backend, of_backend in pairs.items():
        used = {name for pair in of_backend if pair.left for name in pair.right}
        without_influence = {name for pair in of_backend if pair.doubt == NO_INFLUENCE for name in pair.right}
        for entry in entries[backend]:
            if entry.name not in used:
                yield f"only {backend} has {entry}{f', which {NO_INFLUENCE}' * (entry.name in without_influence)}"
    if any(entry.kind == "other" for entry in entries[first]):
        yield "other: a weight of an unknown kind of layer, which is loaded without reordering its axes"


def _cells(pairs: Sequence[Pair]) -> Iterator[tuple[str, str]]:
    """Yield each name on the left, and the cells of the table about its counterpart."""
    for pair in pairs:
        text = SEPARATOR.join(pair.right) or "none"
        for index, name in enumerate(pair.left, 1):
            part = f" (part {index} of {len(pair.left)})" if len(pair.left) > 1 else ""
            yield name, f"{text}{part}  ? {pair.doubt}" if pair.doubt else f"{text}{part}"


def module_names(
    reference: Sequence[WeightEntry], entries: Sequence[WeightEntry], pairs: Sequence[Pair]
) -> dict[str, str]:
    """The pairs of modules that own weights which are counterparts, each module in one pair at most.

    Left out are modules that own parts of a weight, and a convolution in place of a linear layer: their outputs differ.
    """
    weights = {entry.name: entry for entry in reference}
    own_weights = {entry.name: entry for entry in entries}
    modules: dict[str, str] = {}
    for pair in pairs:
        if len(pair.left) != 1 or len(pair.right) != 1:
            continue
        entry, own_entry = weights[pair.left[0]], own_weights[pair.right[0]]
        if {entry.kind, own_entry.kind} == {"conv", "linear"}:
            modules[entry.layer] = ""
        elif entry.layer and own_entry.layer and entry.layer not in modules and own_entry.layer not in modules.values():
            modules[entry.layer] = own_entry.layer
    return {layer: own_layer for layer, own_layer in modules.items() if own_layer}
