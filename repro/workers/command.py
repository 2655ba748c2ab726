"""A command of a backend's interpreter, which runs to its end."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from repro.errors import ReproError
from repro.workers.client import own_code


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
