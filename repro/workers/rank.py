"""One of the ranks that repro.workers.ranks starts: `main` with the folder of files as the only argument."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import cast

from repro.interface import Backend
from repro.interface.processes import process_group
from repro.weights import safetensors_file
from repro.workers.model_session import ModelSession
from repro.workers.ranks import CALL, INPUTS, MODEL_WEIGHTS, RESULTS


def main() -> None:
    """Train on this rank's slice of every batch; the main rank writes the results."""
    folder = Path(sys.argv[1])
    call = json.loads((folder / CALL).read_text())
    weights, inputs = (safetensors_file.load(folder / name)[0] for name in (MODEL_WEIGHTS, INPUTS))
    backend = cast(Backend, importlib.import_module(call["module"]))
    backend.use_device("cpu")
    processes = process_group(call["backend"]).initialised(backend)
    session = ModelSession(backend, processes)
    session.use_mode({}, call["mode"])
    session.create_model(weights, **call["model"])
    local = processes.local_slice(inputs["images"].shape[1])
    _, results = session.train({name: array[:, local] for name, array in inputs.items()}, **call["train"])
    if processes.is_main:
        safetensors_file.save(folder / RESULTS, results)
