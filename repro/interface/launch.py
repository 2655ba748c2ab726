"""The command by which a framework's launcher starts several processes on this machine."""

from __future__ import annotations

import socket
from pathlib import Path

from repro.errors import unknown


def launch_command(backend: str, processes: int, logs: Path) -> list[str]:
    """Return the arguments of a backend's interpreter that start a script in several processes.

    logs: the folder for what the processes print. Raises ReproError for a backend whose launcher is not known.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    commands = {
        "torch": ["torch.distributed.run", "--standalone", "--nproc_per_node", f"{processes}"],
        "paddle": ["paddle.distributed.launch", "--nproc_per_node", f"{processes}", "--log_dir", f"{logs}"],
        "mindspore": [
            "mindspore.parallel.cluster.run", f"--worker_num={processes}", f"--local_worker_num={processes}",
            f"--master_port={port}", f"--log_dir={logs}", "--join=True",
        ],
    }  # fmt: skip
    if backend not in commands:
        raise unknown("launcher of the backend", backend, commands)
    return ["-m", *commands[backend]]
