"""Names of images: more than a million of them, as in ImageNet, in little memory."""

from __future__ import annotations

import json
import operator
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import SupportsIndex, overload

CHUNK = 64  # names that are read to find one of them


class Names(Sequence[str]):
    """A sequence of strings, which takes a third of a tuple's memory, and little time to be sent to a process."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._chunks: list[str] = []  # JSON lists of CHUNK names each
        self._last: list[str] = []  # fewer names
        self.extend(names)

    def extend(self, names: Iterable[str]) -> None:
        """Add names at the end."""
        self._last += names
        full = len(self._last) // CHUNK * CHUNK
        for start in range(0, full, CHUNK):
            self._chunks.append(json.dumps(self._last[start : start + CHUNK], ensure_ascii=False))
        del self._last[:full]

    def __len__(self) -> int:
        return len(self._chunks) * CHUNK + len(self._last)

    def __iter__(self) -> Iterator[str]:
        return chain(chain.from_iterable(map(json.loads, self._chunks)), self._last)

    def json(self) -> Iterator[str]:
        """Yield the JSON of the names, in ASCII, in pieces that ", " joins."""
        for chunk in self._chunks:
            as_is = chunk.isascii() and "\x7f" not in chunk
            yield (chunk if as_is else json.dumps(json.loads(chunk)))[1:-1]
        if self._last:
            yield json.dumps(self._last)[1:-1]

    @overload
    def __getitem__(self, index: SupportsIndex) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> str | tuple[str, ...]:
        if not isinstance(index, slice):
            start = operator.index(index)  # NumPy's integers, too
            return self[start : start + 1 or None][0]
        positions = range(len(self))[index]
        if positions.step != 1:
            return tuple(self[position] for position in positions)
        first, last = positions.start // CHUNK, -(-positions.stop // CHUNK)
        names = list(chain.from_iterable(map(json.loads, self._chunks[first:last])))
        if last > len(self._chunks):
            names += self._last
        start = positions.start - first * CHUNK
        return tuple(names[start : start + len(positions)])
