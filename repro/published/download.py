"""Downloads that survive a break: resumed, checked by hash, and put in place in one stroke.

Written by hand because pooch, the library for this, begins again after a break.
"""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from repro.errors import ReproError

ATTEMPTS = 5  # connections in a row that may break without a byte having come
PAUSE = 0.5  # seconds before the first repeated attempt, doubled each time
TIMEOUT = 30.0  # seconds without a byte after which a connection counts as broken
BLOCK = 1 << 18
LARGEST = 1 << 34  # bytes; no published weight file comes near it
SIZE_ROUNDING = 1024  # bytes; torchvision gives sizes to a thousandth of a MiB

Progress = Callable[[int, int | None], object]  # (bytes so far, bytes in all or None)


def download(
    url: str,
    path: Path,
    *,
    sha256: str = "",
    md5: str = "",
    size: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Download a file to `path`, whole and checked, or raise ReproError and leave `path` as it was.

    The bytes that have come stay in `path`.part, from where the next call resumes. Several processes may call it at
    once: one downloads, and the others wait for it.

    Args:
        url: An http or https address.
        path: The destination, whose folder is made.
        sha256: The expected SHA-256 in hexadecimal, or its first digits.
        md5: The expected MD5 in hexadecimal.
        size: The expected number of bytes, within SIZE_ROUNDING.
        progress: Called after each block.
    """
    if not url.startswith(("http://", "https://")):
        raise ReproError(f"{url} is not an http address; download it yourself and give the file's path")
    part = path.with_name(path.name + ".part")
    by_hand = f"download it yourself and place it at {path}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if path.is_file() or not part.is_file():  # another process has finished it meanwhile
                if path.is_file():
                    return
                raise ReproError(f"another process gave up the download of {url}; try again")
            try:
                _fill(url, file, progress, by_hand)
            except ReproError:
                if not file.tell():
                    part.unlink()
                raise
            file.flush()
            if reason := difference(part, sha256=sha256, md5=md5, size=size):
                part.unlink()
                raise ReproError(f"{url} sent a file with {reason}; it was removed: try again, or {by_hand}")
            os.fsync(file.fileno())
            part.replace(path)
    except OSError as error:
        raise ReproError(
            f"cannot write {path}: {error.strerror or error}; free the space or set another cache"
        ) from error


def _fill(url: str, file: BinaryIO, progress: Progress | None, by_hand: str) -> None:
    """Append what is missing of the file, over as many connections as it takes."""
    failures = 0
    while True:
        before = file.tell()
        try:
            if _connect(url, file, progress):
                return
            reason = "the connection broke"
        except urllib.error.HTTPError as error:
            if error.code == 416 and before:  # the part is not the beginning of this file
                file.truncate(0)
                file.seek(0)
            elif error.code not in (408, 429, 500, 502, 503, 504):
                raise ReproError(f"cannot download {url}: HTTP {error.code} {error.reason}; {by_hand}") from error
            reason = f"HTTP {error.code} {error.reason}"
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            reason = str(getattr(error, "reason", "") or error or type(error).__name__)
            if isinstance(getattr(error, "reason", None), socket.gaierror) and not before:  # there is no network
                raise ReproError(f"cannot download {url}: {reason}; {by_hand}") from error
        failures = 0 if file.tell() > before else failures + 1
        if failures >= ATTEMPTS:
            raise ReproError(f"cannot download {url}: {reason}; {by_hand}")
        time.sleep(PAUSE * 2**failures)


def _connect(url: str, file: BinaryIO, progress: Progress | None) -> bool:
    """Append what one connection yields; return whether the file is then complete."""
    start = file.tell()
    request = urllib.request.Request(url, headers={"User-Agent": "repro"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        if start and response.status != 206:  # the server sends all of it again
            file.truncate(0)
            file.seek(start := 0)
        length = response.headers.get("Content-Length")
        total = start + int(length) if length and length.isdecimal() else None
        while block := response.read(BLOCK):
            if file.tell() + len(block) > min(LARGEST, total or LARGEST):
                raise ReproError(f"{url} sends more bytes than it announced; it was given up")
            file.write(block)
            if progress:
                progress(file.tell(), total)
    return total is None or file.tell() == total


def difference(path: Path, *, sha256: str = "", md5: str = "", size: int | None = None) -> str:
    """Return in words how a file differs from what its publisher gives, or "" if it does not."""
    actual = path.stat().st_size
    if size is not None and abs(actual - size) > SIZE_ROUNDING:
        return f"another size ({actual:,} bytes instead of {size:,})"
    for name, expected in (("sha256", sha256), ("md5", md5)):
        if not expected:
            continue
        digest = hashlib.new(name)
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
        if not digest.hexdigest().startswith(expected.lower()):
            return f"another {name} ({digest.hexdigest()[: max(8, len(expected))]} instead of {expected})"
    return ""
