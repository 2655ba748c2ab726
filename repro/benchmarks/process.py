"""Functions that need a framework, each called in a process of its own with the interpreter of its backend."""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from repro.errors import ReproError
from repro.workers.client import interpreter
from repro.workers.command import run


def in_process(backend: str, function: str, *arguments: object) -> Any:
    """Return the result of a function, "MODULE:NAME", in a process of a backend. Arguments and result are JSON.

    Raises the ReproError that the function raises, and one that quotes the last line of its output where it fails
    otherwise.
    """
    with tempfile.TemporaryDirectory(prefix="repro-bench-") as folder:
        request, answer = Path(folder, "request.json"), Path(folder, "answer.json")
        request.write_text(json.dumps({"function": function, "arguments": arguments}))
        run([interpreter(backend), "-m", "repro.benchmarks.process", str(request), str(answer)], backend, Path(folder))
        result = json.loads(answer.read_text())
    if "error" in result:
        raise ReproError(result["error"])
    return result["result"]


def main() -> None:
    """Call the function of the request, and write its result or the text of its ReproError."""
    request, answer = (Path(name) for name in sys.argv[1:])
    call = json.loads(request.read_text())
    module, _, name = call["function"].partition(":")
    try:
        result = {"result": getattr(importlib.import_module(module), name)(*call["arguments"])}
    except ReproError as error:
        result = {"error": str(error)}
    answer.write_text(json.dumps(result))


if __name__ == "__main__":
    main()
