"""The table of docs/scale.md about all-reduce."""

from __future__ import annotations

from pathlib import Path

import pytest

from parity_tests.all_reduce import main, ring_seconds

SCALE = Path(__file__).resolve().parents[2] / "docs" / "scale.md"


def test_a_ring_sends_nearly_twice_the_bytes() -> None:
    assert ring_seconds(8e9, 2, 1e9, latency=0) == pytest.approx(8)  # each half goes over, and its sum comes back
    assert ring_seconds(8e9, 1000, 1e9, latency=0) == pytest.approx(2 * 8 * 0.999)
    assert ring_seconds(0, 512, 1e9, latency=1e-5) == pytest.approx(1022e-5)


def test_the_page_shows_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert capsys.readouterr().out in SCALE.read_text(encoding="utf-8")
