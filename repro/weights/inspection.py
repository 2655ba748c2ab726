"""A listing of the contents of any weight file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from repro.untrusted import printable
from repro.weights.formats import read_file
from repro.weights.pickled_tree import left_out_line

LONGEST_TEXT = 400
"""Characters that are shown of a text in the metadata, such as the names of a thousand classes."""


def describe_file(path: Path) -> Iterator[str]:
    """Yield lines about a file: metadata, objects left out, name, shape, dtype and SHA-256 of every array, and totals.

    The line of an array shows the first 12 digits of the SHA-256 of its bytes.
    """
    arrays, metadata = read_file(path)
    for key, text in sorted(metadata.items()):
        ending = f"... ({len(text):,} characters)" if len(text) > LONGEST_TEXT else ""
        yield f"# {printable(key)}: {printable(text[:LONGEST_TEXT])}{ending}"
    if line := left_out_line(arrays):
        yield f"# {line}"
    for name, array in arrays.items():
        digest = hashlib.sha256(array.tobytes()).hexdigest()
        yield f"{printable(name):56} {array.shape!s:20} {array.dtype!s:8} {digest[:12]}"
    yield f"{len(arrays)} arrays, {sum(array.size for array in arrays.values()):,} values"
