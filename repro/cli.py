"""The console script `repro`, and what all commands share: usage lines, subcommands and exit codes."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from repro import __version__
from repro.errors import ReproError, unknown

if TYPE_CHECKING:
    import argparse

COMMANDS = {
    "Training": {
        "run": "train a model on any backend",
        "ablation": "train the ablations of arXiv:1603.05027 and print its tables",
    },
    "Trained models": {
        "predict": "predict the classes of images",
        "report": "evaluate a run on its validation images: metrics per class, confusion matrix, worst mistakes",
        "compare": "compare the results, recipes and curves of runs",
        "reproduction": "write REPRODUCTION.md, the results of the articles' recipes",
    },
    "Weights": {
        "port": "convert a weight file between frameworks",
        "export": "write a checkpoint as ONNX",
    },
    "Frameworks": {
        "parity": "compare the backends numerically on shared weights and inputs",
    },
    "Information": {
        "models": "list the available models, or the layers of one, with parameters and MACs",
        "dataset": "inspect, check or split a data set",
        "bench": "compare the speed of steps, data loading, training, starting and conversions with peers",
    },
}
ALIASES = {"sweep": "ablation"}
"""Former names of commands, which still work."""

MODULES = {"parity": "repro.parity.__main__"}
"""Modules of the commands that are not repro.COMMAND."""


def command_name(command: str) -> str:
    """Return what the user typed to start a command, for its usage line: `repro run` or `python -m repro.run`."""
    script = f"repro {command}"
    return script if sys.argv[0] == script else f"python -m repro.{command}"


def add_command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, purpose: str
) -> argparse.ArgumentParser:
    """Add a subcommand, and return its parser. Its own help begins with its purpose, too."""
    return commands.add_parser(name, help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.")


def run_command(main: Callable[[], int]) -> NoReturn:
    """Call `main` and exit with the code that it returns.

    Errors of the user are printed to stderr in one line, and the exit code is then 1. It is 130 after Ctrl-C.
    """
    try:
        code = main()
        sys.stdout.flush()
    except ReproError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 1
    except BrokenPipeError:  # the program that reads the output, such as `head`, has ended
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
    """Run the command that the first argument names: `repro run ...` is `python -m repro.run ...`."""
    run_command(lambda: _dispatch(sys.argv[1:]))


def _dispatch(arguments: Sequence[str]) -> int:
    command = arguments[0] if arguments else "--help"
    command = ALIASES.get(command, command)
    commands = [name for group in COMMANDS.values() for name in group]
    if command in commands:
        sys.argv[:2] = [f"repro {command}"]  # see command_name
        return importlib.import_module(MODULES.get(command, f"repro.{command}")).main()
    if command in ("-h", "--help"):
        print(_help())
        return 0
    if command == "--version":
        print(f"repro {__version__}")
        return 0
    print(f"{_help()}\n\nerror: {unknown('command', command, commands)}", file=sys.stderr)
    return 2


def _help() -> str:
    lines = [
        "usage: repro [--help] [--version] COMMAND ...",
        "",
        "Convolutional image classifiers in PyTorch, PaddlePaddle and MindSpore, numerically equal.",
        "`repro COMMAND --help` describes the options of a command.",
    ]
    for group, commands in COMMANDS.items():
        lines += ["", f"{group}:", *(f"  {command:13} {purpose}" for command, purpose in commands.items())]
    return "\n".join(lines)
