"""Random bytes, random pickles and random changes of a framework's file: arrays that fit it, or one clear line."""

from __future__ import annotations

import pickletools
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parity_tests.support.native_samples import BACKENDS, EXTENSION, FOUR, native, same, torch_file, written
from repro.errors import ReproError
from repro.interface.discovery import native_weights


def test_a_flipped_byte_in_a_zip_never_changes_a_number(tmp_path):
    path = written("torch", tmp_path)
    whole = path.read_bytes()
    for at in range(0, len(whole), 11):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])
        try:
            arrays = native_weights("torch").read(path)
        except ReproError:
            continue
        assert same(arrays, native("torch")), f"byte {at} was flipped"  # it was padding or a time stamp


def arrays_or_refusal(name: str, path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        arrays = native_weights(name).read(path)
    except ReproError:
        return
    assert arrays
    assert sum(array.nbytes for array in arrays.values()) <= 20 * len(content)
    # V: bfloat16
    assert all(array.dtype.kind in "biufV" for array in arrays.values())


SHORT = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("name", BACKENDS)
@SHORT
@given(content=st.binary(max_size=200))
def test_random_bytes(name, tmp_path, content):
    arrays_or_refusal(name, tmp_path / f"file{EXTENSION[name]}", content)
    if name == "torch":  # past the zip
        arrays_or_refusal(name, tmp_path / "file.pth", torch_file(content, {"a/data/0": FOUR}))


@SHORT
@given(
    st.lists(st.sampled_from([opcode.code.encode("latin1") for opcode in pickletools.opcodes]), max_size=30),
    st.binary(max_size=8),
)
def test_random_instructions(tmp_path, codes, argument):
    program = b"}" + b"".join(code + argument[: index % 9] for index, code in enumerate(codes)) + b"."
    arrays_or_refusal("paddle", tmp_path / "file.pdparams", program)
    arrays_or_refusal("torch", tmp_path / "file.pth", torch_file(program, {"a/data/0": FOUR}))


@pytest.mark.parametrize("name", BACKENDS)
@SHORT
@given(data=st.data())
@pytest.mark.slow
def test_mutated_files(name, tmp_path, data):
    content = bytearray(written(name, tmp_path).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
        if not content:
            content = bytearray(b"\0")
    arrays_or_refusal(name, tmp_path / f"file{EXTENSION[name]}", bytes(content))
