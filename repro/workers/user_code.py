"""The function of a user that builds a model: found and called as Python would from the user's folder."""

from __future__ import annotations

import importlib
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from repro.errors import ReproError, unknown
from repro.interface.substitution import LIBRARIES, short_path

RESULT_NAME = re.compile(r"(input of )?(.+?)( \(\d+\))?", re.DOTALL)


def rename_result(result: str, names: Mapping[str, str]) -> str | None:
    """The name of a result ("NAME", "input of NAME", "NAME (2)") with NAME replaced as `names` has it, or else None."""
    match = RESULT_NAME.fullmatch(result)
    assert match
    prefix, name, suffix = match.groups(default="")
    return f"{prefix}{names[name]}{suffix}" if name in names else None


def load_factory(source: str, folder: str) -> Callable[[], Any]:
    """A function that builds the user model of `source`, "MODULE:FUNCTION", in the user's folder.

    Raises ReproError where the module or the function does not exist. The returned function raises ReproError for
    whatever the user's function raises.
    """
    module_name, _, function_name = source.partition(":")
    with _working_folder(folder), _one_line_errors(f"cannot import {module_name}"):
        module = importlib.import_module(module_name)
    if not hasattr(module, function_name):
        public = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        raise unknown(f"function of {module_name}", function_name, public)
    function = getattr(module, function_name)
    if not callable(function):
        raise ReproError(f"{source} is of type {type(function).__name__}; name a function that returns a model")

    def build() -> Any:
        with _working_folder(folder), _one_line_errors(f"{source} failed"):
            return function()

    return build


@contextmanager
def _working_folder(folder: str) -> Iterator[None]:
    """Make `folder` the current folder for a block. Its modules stay importable, since functions may import later."""
    if folder not in sys.path:
        sys.path.insert(0, folder)
    before = os.getcwd()  # noqa: PTH109
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextmanager
def _one_line_errors(context: str) -> Iterator[None]:
    """Turn whatever the user's code raises into a ReproError of one line that names the place in that code."""
    try:
        yield
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        frame = traceback.extract_tb(error.__traceback__)[-1]
        last = "" if frame.filename.startswith("<") else f"{frame.filename}:{frame.lineno}"
        place = user_place(error) or last
        raise ReproError(f"{context}: {describe_error(error)}{f' at {place}' if place else ''}") from error


def describe_error(error: BaseException) -> str:
    """The type of an error and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}{f': {lines[0]}' if lines else ''}"


def user_place(error: BaseException) -> str:
    """The innermost line "FILE:LINE" of an error's traceback that is a user's, or ""."""
    place = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        package = str(frame.f_globals.get("__name__")).partition(".")[0]
        if package not in (*LIBRARIES, "numpy", "__main__") and package not in sys.stdlib_module_names:
            place = f"{short_path(frame.f_code.co_filename)}:{line}"
    return place
