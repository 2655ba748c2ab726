"""The names of classes, read from files that are not trusted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from repro.errors import ReproError
from repro.untrusted import printable

LARGEST_FILE = 1 << 22  # bytes


def read_class_names(path: Path) -> tuple[str, ...]:
    """Return the class names in a class_indices.json, {"0": "daisy", ...}, or in a text file with one name per line.

    Raises ReproError for any other file, and for a name that occurs twice.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
        text = content.decode("utf-8-sig")
        if len(content) > LARGEST_FILE:
            raise ReproError(f"{path} is longer than {LARGEST_FILE} bytes; is it a list of classes?")
        if path.suffix != ".json":
            return checked_class_names([line.strip() for line in text.splitlines() if line.strip()], path)
        names = json.loads(text)
        return checked_class_names([names[str(index)] for index in range(len(names))], path)
    except OSError as error:
        raise ReproError(f"cannot read the classes in {path}: {error.strerror}") from error
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ReproError(
            f'{path} is not a list of classes; write {{"0": "daisy", ...}}, or one name on each line'
        ) from error


def checked_class_names(names: Any, path: str | Path) -> tuple[str, ...]:
    """Return the names, with unprintable characters replaced.

    Raises ReproError, which mentions `path`, unless `names` is a list of different, non-empty texts.
    """
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise ReproError(f"the classes in {path} are not a list of names; give another list: --classes FILE")
    if len(set(names)) < len(names):
        duplicate = next(name for name in names if names.count(name) > 1)
        raise ReproError(f"class {printable(duplicate)} occurs twice in {path}; give every class a different name")
    return tuple(map(printable, names))
