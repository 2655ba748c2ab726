"""Names of images in chunks are those that were given, and take less memory than a tuple."""

from __future__ import annotations

import json
import pickle
import sys
from itertools import product
from unittest.mock import Mock

import numpy as np
import pytest

from repro.data.names import Names
from repro.data.subset import numbered

NAMES = ("cat/1.png", "", "狗/é.png", "\udcff.jpg", "\ud800", "a\0b", "cat/1.png")


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64])
def test_they_are_a_sequence_of_the_strings(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr("repro.data.names.CHUNK", chunk)
    names = Names(NAMES[:3])
    names.extend(iter(NAMES[3:]))
    for sequence in (names, pickle.loads(pickle.dumps(names))):
        assert tuple(sequence) == NAMES and len(sequence) == 7
        assert (sequence[np.int64(0)], sequence[-4], sequence[1:6:2]) == (NAMES[0], NAMES[-4], NAMES[1:6:2])
        assert sequence.index("\ud800") == 4 and "dog" not in sequence
        for start, stop in product(range(-8, 9), repeat=2):
            assert sequence[start:stop] == NAMES[start:stop]
        for index in (7, -8):
            with pytest.raises(IndexError):
                sequence[index]
    assert not Names() and tuple(Names()) == () == names[9:]


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64])
def test_their_json_is_that_of_a_list(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr("repro.data.names.CHUNK", chunk)
    for strings in ((), ("a", "b"), ("\x7f", 'cat/"\\.png'), NAMES):
        assert f"[{', '.join(Names(strings).json())}]" == json.dumps(strings)


def test_selecting_images_reads_each_name_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of 64 names that is read anew for each of them took a million images seven seconds."""
    subset = numbered(np.zeros((200, 1, 1), np.uint8), np.arange(200), 3)
    loads = Mock(wraps=json.loads)
    monkeypatch.setattr(json, "loads", loads)
    selected = subset.select(np.arange(200) % 2 == 0)
    assert loads.call_count == 3
    assert tuple(selected.names) == tuple(f"{index:03d}" for index in range(0, 200, 2))


def test_they_take_less_memory_than_a_tuple() -> None:
    names = [f"train/n{number % 1000:08d}/{number:08d}.JPEG" for number in range(10_000)]
    assert 2 * len(pickle.dumps(Names(names))) < sum(map(sys.getsizeof, names))
