"""Keep a core busy for ever: `python -m parity_tests.programs.busy_core CORE`."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    os.sched_setaffinity(0, {int(sys.argv[1])})
    print(flush=True)
    while True:
        pass
