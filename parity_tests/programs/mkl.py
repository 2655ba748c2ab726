"""Print whether Paddle was loaded at each call of use_avx2_on_amd while the backend is imported."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from repro.interface import mkl

if __name__ == "__main__":
    calls: list[bool] = []

    def record(root: Path = Path("/")) -> None:
        """Note whether Paddle is loaded."""
        calls.append("paddle" in sys.modules)

    mkl.use_avx2_on_amd = record
    importlib.import_module("backends.paddle")
    print(calls)
