"""Run one program: `python -m parity_tests.programs MODULE:FUNCTION JSON_ARGUMENTS RESULT_FILE`."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path


def main() -> None:
    module, _, function = sys.argv[1].partition(":")
    program = getattr(importlib.import_module(f"parity_tests.programs.{module}"), function)
    Path(sys.argv[3]).write_text(json.dumps(program(*json.loads(sys.argv[2]))))


main()
