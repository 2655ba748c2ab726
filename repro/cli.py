"""The console script `repro`, and the one place where a mistake becomes a line and an exit code."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from repro.errors import ReproError

COMMANDS = {
    "run": "train a model on any backend",
    "predict": "predict the classes of images with any checkpoint",
    "report": "look closely at the best weights of a run",
    "compare": "lay runs side by side",
    "reproduction": "put together what the articles' recipes gave",
    "ablation": "train the ablations of one paper, and print its tables",
    "dataset": "look at a data set, or split one",
    "models": "list the variants, or the layers of one, with parameters and MACs",
    "parity": "compare the backends on shared weights and inputs",
    "port": "carry weights between frameworks",
    "export": "write a checkpoint as ONNX",
    "bench": "time port, and its memory, beside cp",
}

ALIASES = {"sweep": "ablation"}  # former names


def run_command(main: Callable[[], int]) -> NoReturn:
    """Exits with what `main` returns; 1 and one line for a mistake, 130 for Ctrl-C."""
    try:
        code = main()
        sys.stdout.flush()
    except ReproError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 1
    except BrokenPipeError:  # the reader of our output, such as `head`, has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except OSError as error:
        if not error.filename:
            raise
        print(f"error: cannot use {error.filename}: {error.strerror}; give another path", file=sys.stderr)
        code = 1
    except KeyboardInterrupt as interrupt:
        print(f"interrupted{f': {interrupt}' if str(interrupt) else ''}", file=sys.stderr)
        code = 130
    sys.exit(code)


def main() -> NoReturn:
    """Hands over to the command named first: `repro run ...` is `python -m repro.run ...`."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    name = ALIASES.get(name, name)
    if name in COMMANDS:
        sys.argv[:2] = [f"repro {name}"]
        module = importlib.import_module("repro.parity.__main__" if name == "parity" else f"repro.{name}")
        run_command(module.main)
    print("usage: repro COMMAND [OPTIONS]\n\ncommands (repro COMMAND --help tells more):")
    for command, purpose in COMMANDS.items():
        print(f"  {command:13} {purpose}")
    if name not in ("-h", "--help"):
        print(f"error: unknown command {name!r}", file=sys.stderr)
        sys.exit(2)
    sys.exit(0)
