"""The process of a worker: `python -m repro.workers.serve MODULE SOCKET FOLDER NICENESS`.

It answers requests until the client closes the connection.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

from repro.arrays import Arrays
from repro.errors import ReproError
from repro.interface import Backend
from repro.weights import safetensors_file
from repro.workers.user_code import describe_error, user_place
from repro.workers.user_session import UserModelSession

LIGHT_REQUESTS = {"loss", "update"}  # they leave no large objects to collect


def main() -> None:
    """Import the backend's module, report its version, and answer requests."""
    module, descriptor, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    connection = Connection(descriptor)
    os.nice(int(sys.argv[4]))

    def send_answer(result: Any, arrays: Arrays) -> None:
        if arrays:
            safetensors_file.save(folder / "answer.safetensors", arrays)
        connection.send_bytes(json.dumps({"result": result, "arrays": bool(arrays)}).encode())

    def send_error(error: Exception) -> None:
        expected = isinstance(error, ReproError)
        text = str(error) if expected else describe_error(error)
        if not expected:
            traceback.print_exc()
            if place := user_place(error):  # the error of a user's model, which its framework's log does not explain
                text, expected = f"{text} at {place}", True
        connection.send_bytes(json.dumps({"error": text, "expected": expected}).encode())

    try:
        backend = cast(Backend, importlib.import_module(module))
        send_answer({"version": backend.version()}, {})
    except ImportError as error:
        return send_error(
            ReproError(f"cannot import its framework ({error}); install it there, or name another interpreter")
        )
    session = UserModelSession(backend)
    gc.freeze()  # the framework's own objects stay, and need not be searched at every collection
    while True:
        try:
            message = json.loads(connection.recv_bytes())
        except EOFError:
            return None
        try:
            arrays = safetensors_file.load(message["arrays"])[0] if message["arrays"] else {}
            send_answer(*getattr(session, message["request"])(arrays, **message["details"]))
            if message["request"] not in LIGHT_REQUESTS:
                gc.collect()  # models, hooks and optimizers refer to each other, and large ones should go at once
        except Exception as error:  # a framework may raise anything, and the session goes on
            send_error(error)


if __name__ == "__main__":
    main()
