"""A training of a model session by several ranks, which the framework's launcher starts on this machine."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from repro.arrays import Arrays
from repro.interface.launch import launch_command
from repro.weights import safetensors_file
from repro.workers.command import run

CALL, MODEL_WEIGHTS, INPUTS, RESULTS = "call.json", "weights.safetensors", "inputs.safetensors", "results.safetensors"
SCRIPT = "from repro.workers.rank import main\n\nif __name__ == '__main__':\n    main()\n"


def train_by_ranks(backend: str, call: Mapping[str, Any], weights: Arrays, inputs: Arrays) -> Arrays:
    """Return the results of `ModelSession.train` that the main rank has.

    Args:
        backend: The backend whose launcher starts the ranks.
        call: The "module" of the backend, the settings of the "mode", the details of `create_model` as "model", and
            those of `train` as "train".
        weights: The initial weights.
        inputs: The arrays of `train`, with the batches of all ranks.

    Raises ReproError where the ranks fail.
    """
    with tempfile.TemporaryDirectory(prefix="repro-ranks-") as name:
        folder = Path(name)
        (folder / CALL).write_text(json.dumps({"backend": backend, **call}))
        safetensors_file.save(folder / MODEL_WEIGHTS, weights)
        safetensors_file.save(folder / INPUTS, inputs)
        script = folder / "rank.py"
        script.write_text(SCRIPT)
        command = launch_command(backend, call["mode"]["world_size"], folder / "logs")
        run([sys.executable, *command, str(script), str(folder)], backend, folder)
        results = safetensors_file.load(folder / RESULTS)[0]
        return {name: array.copy() for name, array in results.items()}  # the file goes
