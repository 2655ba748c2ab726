"""Open train.parquet, whose copy waits and adds a line to the file copies: `... slow_copy SECONDS`."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from repro.data import open_dataset, parquet

if __name__ == "__main__":
    original = parquet._copy

    def slow(file: Path, images: Path, listing: Path) -> None:
        """Copy after the seconds."""
        with Path("copies").open("a", encoding="ascii") as copies:
            copies.write(f"{os.getpid()}\n")
        time.sleep(float(sys.argv[1]))
        original(file, images, listing)

    parquet._copy = slow
    print(open_dataset("train.parquet").digest)
