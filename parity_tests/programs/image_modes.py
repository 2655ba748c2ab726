"""Print the mode of each image, or "refused": `python -W always -m parity_tests.programs.image_modes IMAGE ...`."""

from __future__ import annotations

import sys
from pathlib import Path

from repro.data.decode import decode
from repro.errors import ReproError

if __name__ == "__main__":
    for name in sys.argv[1:]:
        try:
            print(decode(Path(name)).mode)
        except ReproError:
            print("refused")
