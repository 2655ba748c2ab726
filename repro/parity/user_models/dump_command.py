"""The flags --dump and --against: a user model that runs on another machine."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from repro.errors import ReproError
from repro.parity.user_models.inputs import Inputs, input_name, parse_inputs, random_inputs
from repro.parity.user_models.models import keep_own_weights, load_random_weights, load_user_models
from repro.parity.user_models.rungs import record_user_rungs
from repro.workers.dump import Dump, RecordingWorker

SETTINGS = {"input": list, "rungs": str, "seeds": int, "own_weights": bool}  # flag -> type
DEFAULTS = {"input": None, "rungs": None, "seeds": 1, "own_weights": False}


def read_dump(arguments: argparse.Namespace) -> Dump:
    """Return the dump to compare with. Its settings are put in place of the flags.

    Raises ReproError for a damaged file, and for a flag that was given otherwise when it was written.
    """
    path = arguments.against
    dump = Dump.read(path)
    if any(type(dump.settings.get(name)) is not of_type for name, of_type in SETTINGS.items()):
        raise ReproError(f"{path} is a damaged file of --dump (its settings are wrong); write it again")
    shapes = {input_name(index): spec.shape for index, spec in enumerate(parse_inputs(dump.settings["input"]))}
    if shapes != {name: array.shape for name, array in dump.inputs.items()}:
        raise ReproError(f"{path} is a damaged file of --dump (its inputs are wrong); write it again")
    for name in SETTINGS:
        value, recorded = getattr(arguments, name), dump.settings[name]
        if value not in (DEFAULTS[name], recorded):
            flag = name.replace("_", "-")
            raise ReproError(f"{path} was written with another --{flag}, {recorded}; leave --{flag} out")
        setattr(arguments, name, recorded)
    return dump


def write_dump(arguments: argparse.Namespace, sources: dict[str, str], inputs: Inputs, rungs: Sequence[int]) -> int:
    """Compute everything that a comparison with the only model may need, and write it. Returns the exit code.

    Raises ReproError for several models.
    """
    if len(sources) != 1:
        raise ReproError(f"--dump is for one model, and there are {len(sources)}; give one")
    ((label, source),) = sources.items()
    worker = RecordingWorker(label)
    with worker:
        models = load_user_models({label: worker}, sources, inputs, None, print, print_mapping=lambda line: None)
        for seed in range(arguments.seeds):
            weights = (keep_own_weights if arguments.own_weights else load_random_weights)(models, seed)
            record_user_rungs(models, rungs, weights, seed)
    settings = {
        "input": list(map(str, inputs)),
        "rungs": ",".join(map(str, rungs)),
        "seeds": arguments.seeds,
        "own_weights": arguments.own_weights,
    }
    dump = Dump(label, source, worker.version, settings, random_inputs(inputs, 0, 0), worker.answers)
    dump.write(arguments.dump)
    size = arguments.dump.stat().st_size / 1e6
    print(f"wrote {source} in {label} {worker.version} to {arguments.dump}, {size:.1f} MB")
    return 0
