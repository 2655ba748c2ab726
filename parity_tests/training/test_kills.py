"""Runs that are killed at random moments end like one that never stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

from parity_tests.kills import kill_and_compare


@pytest.mark.slow
def test_three_kills(backend: str, tmp_path: Path) -> None:
    assert kill_and_compare(backend, 3, 0, tmp_path).endswith("which all ended bit-identical")
