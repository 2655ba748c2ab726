"""The kernels of MKL on AMD's processors."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

VARIABLE, AVX2 = "MKL_DEBUG_CPU_TYPE", "5"
VENDORS = {"AuthenticAMD", "HygonGenuine"}


def use_avx2_on_amd(root: Path = Path("/")) -> None:
    """Let MKL multiply matrices with AVX2 where the processor, of another vendor than Intel, has it.

    Versions before 2020.1, such as the one in Paddle's wheels, take slow kernels on such processors unless the variable
    MKL_DEBUG_CPU_TYPE is set: 34 instead of 100 GFLOPS on one core of an EPYC. Later versions ignore it. A value that
    the user has set is kept ("0" is MKL's own choice). It must be set before the process multiplies its first matrices.

    Args:
        root: The folder that holds proc/.
    """
    with suppress(OSError, UnicodeDecodeError):
        text = (root / "proc/cpuinfo").read_text()
        entries = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}
        if entries.get("vendor_id") in VENDORS and {"avx2", "fma"} <= set(entries.get("flags", "").split()):
            os.environ.setdefault(VARIABLE, AVX2)
