"""A user's function that makes a model, found and called as Python itself would from the user's folder."""

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

DECORATED = re.compile(r"(enters |\w+/|step \d+: )?(.+?)( \(\d+\))?")
KEPT = ("logits", "loss")


def renamed(name: str, names: Mapping[str, str]) -> str | None:
    """What a result ("enters NAME", "velocity/NAME", "NAME (2)") is called where NAME has another name; None for that
    of a module which has none."""
    match = DECORATED.fullmatch(name)
    assert match
    before, inner, after = match.groups(default="")
    inner = names.get(inner, inner if inner in KEPT else "")
    return f"{before}{inner}{after}" if inner else None


def maker(source: str, folder: str) -> Callable[[], Any]:
    """What calls the function that `source`, "MODULE:FUNCTION", names, from the folder of the user.

    Raises ReproError where there is none; and so does what is returned for whatever the function raises.
    """
    name, _, attribute = source.partition(":")
    with _at(folder), _told(f"cannot import {name}"):
        module = importlib.import_module(name)
    if not hasattr(module, attribute):
        public = [each for each, value in vars(module).items() if callable(value) and not each.startswith("_")]
        raise unknown(f"function of {name}", attribute, public)
    function = getattr(module, attribute)
    if not callable(function):
        raise ReproError(f"{source} is a {type(function).__name__}; name a function that returns a model")

    def make() -> Any:
        with _at(folder), _told(f"{source} fails"):
            return function()

    return make


@contextmanager
def _at(folder: str) -> Iterator[None]:
    """The folder as the current one, and its modules in reach, from now on: functions import late."""
    if folder not in sys.path:
        sys.path.insert(0, folder)
    before = os.getcwd()  # noqa: PTH109
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Whatever the user's code raises, in one line with its place."""
    try:
        yield
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        frame = traceback.extract_tb(error.__traceback__)[-1]
        text = str(error).strip().splitlines()
        said = f"{type(error).__name__}{f': {text[0]}' if text else ''}"
        place = "" if frame.filename.startswith("<") else f" at {frame.filename}:{frame.lineno}"
        raise ReproError(f"{what}: {said}{place}") from error
