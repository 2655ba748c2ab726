"""Functions that need a framework, each called in a process of its own with the interpreter of its backend."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from repro.errors import ReproError
from repro.workers.client import interpreter, own_code


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


def run(command: Sequence[str], backend: str, folder: Path) -> None:
    """Run a command of a backend's interpreter, which finds this code, in a folder for logs.

    Raises ReproError where it cannot start or fails.
    """
    python = Path(command[0])
    # the launcher of MindSpore starts whatever `python` is
    path = f"{python.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": own_code(folder)}
    try:
        done = subprocess.run(
            command, env=environment, check=False, capture_output=True, text=True, errors="replace", cwd=folder
        )
    except OSError as error:
        raise ReproError(
            f"backend {backend}: cannot start {python} ({error.strerror}); set REPRO_{backend.upper()}_PYTHON to an "
            "interpreter that has its framework"
        ) from error
    if done.returncode:
        logs = [path.read_text(errors="replace") for path in sorted(folder.rglob("*log*")) if path.is_file()]
        lines = [line.strip() for text in (done.stdout, *logs, done.stderr) for line in text.splitlines()]
        errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        reason = errors[0] if errors else next((line for line in reversed(lines) if line), "no output")
        raise ReproError(f"backend {backend} failed with exit code {done.returncode}: {reason}")


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
