"""MKL multiplies with AVX2 on AMD's processors (repro.interface.mkl)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from repro.interface.mkl import VARIABLE, use_avx2_on_amd

AMD = "processor\t: 0\nvendor_id\t: AuthenticAMD\nflags\t\t: fpu sse4_2 fma avx2 avx512f\n\n"


@pytest.fixture
def chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return what is chosen for a /proc/cpuinfo; None stands for a system without one."""
    monkeypatch.setenv(VARIABLE, "")  # so that it is removed in the end
    monkeypatch.delenv(VARIABLE)

    def choose(cpuinfo: bytes | None) -> str | None:
        if cpuinfo is not None:
            (tmp_path / "proc").mkdir()
            (tmp_path / "proc/cpuinfo").write_bytes(cpuinfo)
        use_avx2_on_amd(tmp_path)
        return os.environ.get(VARIABLE)

    return choose


@pytest.mark.parametrize(
    ("cpuinfo", "value"),
    [
        (AMD.encode(), "5"),
        (AMD.replace("AuthenticAMD", "HygonGenuine").encode() * 2, "5"),
        (AMD.replace("AuthenticAMD", "GenuineIntel").encode(), None),
        (AMD.replace("avx2", "avx").encode(), None),  # the kernels would end the process by SIGILL
        (AMD.replace("fma", "fma4").encode(), None),
        (b"Processor\t: AArch64\n", None),
        (b"\xff\x00", None),
        (None, None),
    ],
)
def test_amd_with_avx2_takes_it(chosen, cpuinfo: bytes | None, value: str | None) -> None:
    assert chosen(cpuinfo) == value


def test_the_users_choice_stays(chosen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "0")
    assert chosen(AMD.encode()) == "0"


def test_the_backend_chooses_before_paddle_is_imported() -> None:
    command = [sys.executable, "-m", "parity_tests.programs.mkl"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[False]\n"
