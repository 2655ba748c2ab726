"""A server that runs programs with a framework that it has imported: `python -m parity_tests.programs FRAMEWORK`.

Each line of its input is a JSON object with "program" (MODULE:FUNCTION), "arguments", "environment" and the paths
"result" and "log". The program runs in a fork of the server, so that no program sees what another has changed and the
framework is imported once; its result is written as JSON and its output goes to the log. The answer is a line with the
exit code.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any


def run_program(request: dict[str, Any]) -> None:
    """Run one program in this process, and write its result."""
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.environ.clear()
    os.environ.update(request["environment"])
    module, _, function = request["program"].partition(":")
    program = getattr(importlib.import_module(f"parity_tests.programs.{module}"), function)
    Path(request["result"]).write_text(json.dumps(program(*request["arguments"])))


def serve(framework: str) -> None:
    """Answer requests until the input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # frameworks print
    importlib.import_module(framework)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                run_program(json.loads(line))
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                for stream in (sys.stdout, sys.stderr):
                    stream.flush()
                os._exit(code)
        answers.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")


serve(sys.argv[1])
