"""Any weight file <-> canonical weights. A file's extension says whose it is; no framework is needed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

import repro
from repro.discovery import backend_names, native_weights
from repro.errors import ReproError
from repro.specs import Spec, find_spec
from repro.weights import store
from repro.weights.check import check
from repro.weights.native import NativeNames

Arrays = dict[str, np.ndarray]
Say = Callable[[str], object]

CANONICAL = "safetensors"
IDENTITY = NativeNames({})
# where the weights are in files that hold more, such as an optimizer; the first that is there is taken
WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "params", "weights", "ema")


def file_format(path: Path, to: str | None = None) -> str:
    """The name of a backend, or "safetensors".

    Raises ReproError for an unknown extension, and for one of another backend than `to`.
    """
    extensions = {f".{CANONICAL}": CANONICAL}
    for name in backend_names():
        extensions |= dict.fromkeys(native_weights(name).EXTENSIONS, name)
    if path.suffix not in extensions:
        raise ReproError(f"{path} has none of the extensions {', '.join(extensions)}; rename it to what it holds")
    if to is not None and extensions[path.suffix] != to:
        wanted = ", ".join(native_weights(to).EXTENSIONS)
        raise ReproError(f"{path} is a file of {extensions[path.suffix]}, not of {to}, whose files end in {wanted}")
    return extensions[path.suffix]


def read_file(path: Path) -> tuple[Arrays, dict[str, str]]:
    """The arrays of a file of any format under the names it gives them, and the metadata, of safetensors alone."""
    form = file_format(path)
    return store.load(path) if form == CANONICAL else (native_weights(form).read(path), {})


def read_weights(
    path: str | Path, model: str | None = None, options: Mapping[str, object] | None = None, say: Say = print
) -> tuple[Spec, Arrays, dict[str, str]]:
    """The spec, its canonical arrays bit for bit, and what a canonical file would say of them (see _provenance).

    model and options are those of find_spec, needed where the file's metadata do not give them; the numbers of classes
    and of input channels are read off the arrays. `say` is told, in one line each, what of the file was passed over.
    Raises ReproError for an unreadable file and, with all names, for arrays that do not fit the model.
    """
    path = Path(path)
    form = file_format(path)
    found, metadata = read_file(path)
    names = IDENTITY if form == CANONICAL else native_weights(form).NAMES
    found = _unwrapped(found, say)
    if model is None and "model" not in metadata:
        raise ReproError(f"{path} does not say which model it is for; add --model NAME")
    if options is None:
        options = _options(path, metadata) if model in (None, metadata.get("model")) else {}
    spec = _fitted_spec(model or metadata["model"], options, found, names)
    native = _without_counters(found, spec, names, say)
    arrays = names.to_canonical(native, spec.weights)
    if len(arrays) < len(native):
        raise ReproError(f"{path} holds some weights twice, under the names of {form} and under canonical ones")
    check(arrays, spec)
    arrays = {name: np.array(arrays[name], order="C") for name in spec.weights}
    return spec, arrays, metadata | _provenance(path, spec, options)


def write_weights(
    path: str | Path, spec: Spec, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> None:
    """Canonical arrays as a file of the format that the extension names; only safetensors keeps the metadata."""
    path = Path(path)
    form = file_format(path)
    if form == CANONICAL:
        store.save(path, arrays, metadata)
    else:
        native = native_weights(form)
        native.write(path, native.NAMES.to_native(arrays, spec.weights))


def _provenance(source: Path, spec: Spec, options: Mapping[str, object]) -> dict[str, str]:
    """What a canonical file says about where it came from and which model it is for."""
    return {
        "model": spec.name,
        "options": json.dumps(dict(options), sort_keys=True),
        "num_classes": str(spec.num_classes),
        "in_channels": str(spec.in_channels),
        "ported_from": source.name,
        "source_sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "repro": repro.__version__,
    }


def _options(path: Path, metadata: Mapping[str, str]) -> dict[str, object]:
    try:
        options = json.loads(metadata.get("options", "{}"))
    except (ValueError, RecursionError) as error:
        raise ReproError(f"the options in the metadata of {path} are not JSON; give --model and --option") from error
    if not isinstance(options, dict):
        raise ReproError(f"the options in the metadata of {path} are not named; give --model and --option")
    return options


def _unwrapped(arrays: Arrays, say: Say) -> Arrays:
    """The weights alone, of a file that holds them beside others ("state_dict/NAME", "optimizer/...")."""
    groups: dict[str, Arrays] = {}
    for name, array in arrays.items():
        group, _, leaf = name.rpartition("/")
        groups.setdefault(group, {})[leaf] = array
    known = ["", *(group for wrapper in WRAPPERS for group in groups if group.rpartition("/")[2] == wrapper)]
    chosen = next((group for group in known if group in groups), next(iter(groups), ""))
    if len(groups) > 1 and chosen not in known:
        raise ReproError(
            f"the file holds several groups of arrays ({', '.join(list(groups)[:8])}); save the weights alone"
        )
    weights = groups.get(chosen, {})
    if chosen:
        say(f"took the weights under {chosen!r}")
    if len(groups) > 1:
        say(f"left out {len(arrays) - len(weights)} arrays beside them")
    if weights and all(name.startswith("module.") for name in weights):
        say("took the prefix 'module.' off every name")
        return {name.removeprefix("module."): array for name, array in weights.items()}
    return weights


def _fitted_spec(model: str, options: Mapping[str, object], arrays: Arrays, names: NativeNames) -> Spec:
    """The spec with the classes of the last linear layer and the channels of the first convolution."""
    for option in ("num_classes", "in_channels"):
        if option in options:
            raise ReproError(f"{option} is read off the arrays; leave it out of the options")
    spec = find_spec(model, **options)
    layers = {kind: [n for n, weight in spec.weights.items() if weight.kind == kind] for kind in ("conv", "linear")}

    def side(name: str, axis: int, default: int) -> int:
        weight = spec.weights[name]
        array = arrays.get(names.name(name, weight))
        fits = array is not None and array.ndim == len(weight.shape)  # where not, the check will say what is wrong
        return names.turn(array, weight).shape[axis] if array is not None and fits else default

    channels = side(layers["conv"][0], 1, spec.in_channels)  # not grouped
    return find_spec(
        model, **options, num_classes=side(layers["linear"][-1], 0, spec.num_classes), in_channels=channels
    )


def _without_counters(arrays: Arrays, spec: Spec, names: NativeNames, say: Say) -> Arrays:
    """Without the whole-number scalars that frameworks keep beside weights, such as torch's num_batches_tracked."""
    known = {names.name(name, weight) for name, weight in spec.weights.items()}
    counters = {
        name: array
        for name, array in arrays.items()
        if name not in known and array.size == 1 and np.issubdtype(array.dtype, np.integer)
    }
    if counters:
        say(f"left out {len(counters)} whole-number scalars, which are no weights: {next(iter(counters))}, ...")
    return {name: array for name, array in arrays.items() if name not in counters}
