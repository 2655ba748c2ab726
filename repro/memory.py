"""The memory that a process has freed, and keeps for its next arrays."""

from __future__ import annotations

import ctypes
import os

# the numbers of glibc's malloc.h, and the environment variables by which a user sets the same
PARAMETERS = {"MALLOC_TRIM_THRESHOLD_": -1, "MALLOC_MMAP_THRESHOLD_": -3}
NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let glibc keep freed memory. Returns whether it does; other C libraries and the user's own settings stay.

    By default, glibc gives the memory of every large array back to the system, which then clears it again page by page
    for the next one: half of the time of an evaluation in PyTorch.
    """
    if any(name in os.environ for name in PARAMETERS) or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018 - other C libraries lack it
        mallopt = library.mallopt
    except (OSError, TypeError, AttributeError):  # TypeError: on Windows
        return False
    return all(mallopt(parameter, NEVER) for parameter in PARAMETERS.values())
