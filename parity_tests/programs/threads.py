"""Print the threads with which a framework computes: `python -m parity_tests.programs.threads BACKEND`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from repro.interface.discovery import load_backend


def thread_count(backend: str) -> int:
    """Return PyTorch's number of threads, or all threads of this process for another framework."""
    if backend == "torch":
        import torch

        return torch.get_num_threads()
    return len(list(Path("/proc/self/task").iterdir()))


if __name__ == "__main__":
    cores = os.sched_getaffinity(0)
    load_backend(sys.argv[1])
    assert os.sched_getaffinity(0) == cores
    print(thread_count(sys.argv[1]))
