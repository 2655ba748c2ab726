"""Files and folders that are written whole or not at all, and untrusted YAML files."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from repro.errors import ReproError

UMASK = os.umask(0o077)  # the mask can only be read by setting it, which is unsafe once threads run
os.umask(UMASK)


def user_cache(name: str) -> Path:
    """Return the folder of this name in the user's cache, which need not exist."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "repro" / name


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path to write to, which replaces `path` when the block ends without an error.

    Raises ReproError where the folder is missing, not writable or full, and leaves `path` as it was.
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
        temporary.chmod(0o666 & ~UMASK)  # mkstemp makes private files
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ReproError(f"cannot write {path}: {reason}; no partial output is left") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def filling(path: str | Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary folder to fill, which becomes `path` when the block ends without an error.

    replace: replace a folder that has contents; only for folders that a command of this project made.
    Raises ReproError, and leaves `path` as it was, where it cannot be written or already has contents.
    """
    target = Path(path).resolve()
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    old = temporary.with_suffix(".old")
    created = False
    try:
        if target.exists() and (not target.is_dir() or (any(target.iterdir()) and not replace)):
            raise ReproError(f"{path} already exists; give a new or an empty folder")
        temporary.mkdir()
        created = True
        yield temporary
        if replace and target.exists():  # keep the old folder until the new one is in place
            target.rename(old)
        temporary.rename(target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ReproError(f"cannot write {path}: {reason}; no partial output is left") from error
    finally:
        if created:
            shutil.rmtree(temporary, ignore_errors=True)  # renamed by now, unless there was an error
            if old.exists() and not target.exists():
                old.rename(target)
            shutil.rmtree(old, ignore_errors=True)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all. Raises ReproError where `path` cannot be written."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of `path`, a file of the user's cache, until the block or the process ends; other processes wait.

    Windows and some file systems have no locks: nobody waits there. Raises OSError where the lock cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("wb") as lock:
        with suppress(ImportError, OSError):
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def read_yaml(path: str | Path, noun: str, advice: str, largest: int) -> dict[Any, Any]:
    """Return the keys and values of an untrusted YAML file.

    noun: what messages call the file, such as "recipe". advice: what to do where it cannot be read. largest: the limit
    of its size in bytes. Raises ReproError for a file that cannot be read, is not such a file, or repeats a key.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        """A safe loader that refuses a repeated key, of which YAML's own loader silently keeps the last value."""

        def construct_mapping(self, node: Any, deep: bool = False) -> dict:
            """Return the mapping of a node. Raises ReproError for a repeated key, and for a merge key, a YAML bomb."""
            seen: set[str] = set()
            for key in (key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
                if key == "<<":
                    raise ReproError(f"{path}: << is not supported; write the lines out")
                if key in seen:
                    raise ReproError(f"{path}: {key} occurs twice; remove one")
                seen.add(key)
            return super().construct_mapping(node, deep)

        def construct_integer(self, node: Any) -> int:
            """Return an integer. Raises ValueError for more than 100 digits, which take long to read or print."""
            if len(node.value) > 100:
                raise ValueError("an integer has more than 100 digits")
            return super().construct_yaml_int(node)

    Loader.add_constructor("tag:yaml.org,2002:int", Loader.construct_integer)
    try:
        with Path(path).open("rb") as file:
            content = file.read(largest + 1)
        if len(content) > largest:
            raise ReproError(f"{path} is larger than {largest} bytes; is it a {noun}?")
        values = yaml.load(content, Loader)
    except OSError as error:
        raise ReproError(f"cannot read the {noun} {path}: {error.strerror}; {advice}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError, TypeError) as error:
        reason = " ".join(str(getattr(error, "problem", None) or error).split())
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        raise ReproError(f"{path}{where} is not YAML ({reason}); write lines of `key: value`") from error
    if not isinstance(values, dict):
        raise ReproError(f"{path} is not a {noun}; write lines of `key: value`")
    return values
