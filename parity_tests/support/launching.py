"""Scripts in two processes under a framework's launcher."""

from __future__ import annotations

import os
from pathlib import Path

from repro.interface.launch import launch_command
from repro.workers.client import interpreter

ROOT = Path(__file__).resolve().parents[2]

# a network with normalisation and dropout, which MindSpore compiles in half the time of the smallest AsymmNet
QUICK_NETWORK = ["--model", "resnet110_cifar_dropout", "--option", "depth=8", "--image-size", "16"]


def launcher(backend: str, logs: Path) -> list[str]:
    """The command that starts a script in two processes on this machine."""
    return [interpreter(backend), *launch_command(backend, 2, logs)]


def launch_environment(python: str, **variables: str) -> dict[str, str]:
    """The environment in which this interpreter starts a launcher. msrun starts the first `python` of the path."""
    search_path = f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": search_path, "PYTHONPATH": str(ROOT), **variables}
