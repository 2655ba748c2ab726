"""The worker's side: `python -m repro.workers.serve MODULE SOCKET FOLDER` answers until nobody listens any more."""

from __future__ import annotations

import importlib
import json
import sys
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

import numpy as np

from repro.errors import ReproError
from repro.interface import Arrays, Backend
from repro.specs import find_spec
from repro.weights import store


class Session:
    """One method per request; each takes JSON details and arrays, and returns a JSON result and arrays."""

    def __init__(self, backend: Backend):
        self.backend = backend
        self.model: Any = None

    def create(self, arrays: Arrays, name: str, options: dict[str, Any]) -> tuple[Any, Arrays]:
        """Makes the model and fills it with canonical weights."""
        self.model = self.backend.create_model(find_spec(name, **options))
        self.backend.load_weights(self.model, arrays)
        return None, {}

    def export(self, arrays: Arrays) -> tuple[Any, Arrays]:
        return None, self.backend.export_weights(self.model)

    def operators(self, arrays: Arrays, size: int) -> tuple[Any, Arrays]:
        return self.backend.operators(self.model, size), {}

    def forward(self, arrays: Arrays) -> tuple[Any, Arrays]:
        return None, self.backend.forward(self.model, arrays["images"])

    def forward64(self, arrays: Arrays) -> tuple[Any, Arrays]:
        """The same in double precision; the result says whether the framework can."""
        try:
            double = self.backend.to_float64(self.model)
        except ReproError:
            return False, {}
        return True, self.backend.forward(double, arrays["images"].astype(np.float64))


def main() -> None:
    module, descriptor, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    connection = Connection(descriptor)

    def answer(result: Any, arrays: Arrays) -> None:
        if arrays:
            store.save(folder / "answer.safetensors", arrays)
        connection.send_bytes(json.dumps({"result": result, "arrays": bool(arrays)}).encode())

    def refuse(error: Exception) -> None:
        expected = isinstance(error, ReproError)
        if not expected:
            traceback.print_exc()
        text = str(error) if expected else f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        connection.send_bytes(json.dumps({"error": text, "expected": expected}).encode())

    try:
        backend = cast(Backend, importlib.import_module(module))
        answer({"version": backend.version()}, {})
    except ImportError as error:
        return refuse(
            ReproError(f"cannot import its framework ({error}); install it there, or name another interpreter")
        )
    session = Session(backend)
    while True:
        try:
            message = json.loads(connection.recv_bytes())
        except EOFError:
            return None
        try:
            arrays = store.load(message["arrays"])[0] if message["arrays"] else {}
            answer(*getattr(session, message["request"])(arrays, **message["details"]))
        except Exception as error:  # whatever a framework raises becomes an answer
            refuse(error)


if __name__ == "__main__":
    main()
