"""Files and folders that are either written whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from repro.errors import ReproError

UMASK = os.umask(0o077)  # cannot be read without being set, which is none of a thread's business
os.umask(UMASK)


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it takes the place of `path` when the block ends without an error.

    Raises ReproError where the folder is missing, not writable or full; `path` is then as it was.
    """
    path = Path(path)
    temporary = None
    try:
        if path.is_dir():
            raise ReproError(f"{path} is a folder; give the name of a file")
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        temporary = Path(name)
        os.close(handle)
        yield temporary
        temporary.chmod(0o666 & ~UMASK)  # mkstemp, like the writer of safetensors, makes private files
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ReproError(f"cannot write {path}: {reason}; nothing of it was left behind") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def filling(path: str | Path, *, replace: bool = False) -> Iterator[Path]:
    """A temporary folder beside `path` to fill; it becomes `path` when the block ends without an error.

    Raises ReproError, and leaves `path` as it was, unless it can be written and is new or empty, or a folder to
    `replace`: one of ours.
    """
    target = Path(path).resolve()
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    old = temporary.with_suffix(".old")
    made = False
    try:
        if target.exists() and (not target.is_dir() or (any(target.iterdir()) and not replace)):
            raise ReproError(f"{path} is there already; give a new or an empty folder")
        temporary.mkdir()
        made = True
        yield temporary
        if replace and target.exists():  # aside first: there is the old or the new one, or the old one's other name
            target.rename(old)
        temporary.rename(target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ReproError(f"cannot write {path}: {reason}; nothing of it was left behind") from error
    finally:
        if made:
            shutil.rmtree(temporary, ignore_errors=True)  # gone by now, where nothing went wrong
            if old.exists() and not target.exists():
                old.rename(target)
            shutil.rmtree(old, ignore_errors=True)


def write_text(path: str | Path, text: str) -> None:
    """Writes `text` as UTF-8, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_yaml(path: str | Path, thing: str, advice: str, largest: int) -> dict[Any, Any]:
    """The `key: value` of a YAML file that is not trusted. Raises ReproError for one that cannot be read, is no such
    file, or has a key twice. thing: what the file is for; advice: where there is none;
    largest: its bytes."""
    import yaml

    class Loader(yaml.SafeLoader):
        """Refuses the same key twice, of which YAML's own loader silently keeps the last."""

        def construct_mapping(self, node: Any, deep: bool = False) -> dict:
            seen: set[str] = set()
            for key in (key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
                if key in seen:
                    raise ReproError(f"{path}: {key} stands there twice; remove one")
                seen.add(key)
            return super().construct_mapping(node, deep)

    try:
        with Path(path).open("rb") as file:
            content = file.read(largest + 1)
        if len(content) > largest:
            raise ReproError(f"{path} is longer than {largest} bytes; is it a {thing}?")
        values = yaml.load(content, Loader)
    except OSError as error:
        raise ReproError(f"cannot read the {thing} {path}: {error.strerror}; {advice}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError, TypeError) as error:
        reason = " ".join(str(getattr(error, "problem", None) or error).split())
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        raise ReproError(f"{path}{where} is not YAML ({reason}); write lines of `key: value`") from error
    if not isinstance(values, dict):
        raise ReproError(f"{path} is not a {thing}; write lines of `key: value`")
    return values
