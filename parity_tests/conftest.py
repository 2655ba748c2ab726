"""Shared by all tests: which backends can run here, and what to do about those that cannot."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from repro.discovery import SHIPPED


@pytest.fixture(scope="session")
def require_backend() -> Callable[[str], None]:
    """`require_backend(name)` fails in CI and skips elsewhere where the framework is missing."""
    import subprocess
    import sys

    missing: dict[str, str] = {}

    def require(name: str) -> None:
        if name not in missing:
            from repro.workers import interpreter

            probe = subprocess.run(
                [interpreter(name), "-c", f"import {name}"], capture_output=True, text=True, check=False
            )
            missing[name] = probe.stderr.strip().splitlines()[-1] if probe.returncode else ""
        if missing[name]:
            message = f"BACKEND {name.upper()} WAS NOT TESTED: {missing[name]}"
            if os.environ.get("CI"):
                pytest.fail(message)
            pytest.skip(message)

    assert sys.executable
    return require


@pytest.fixture(params=list(SHIPPED))
def backend(request: pytest.FixtureRequest, require_backend: Callable[[str], None]) -> str:
    """The name of each shipped backend in turn."""
    require_backend(request.param)
    return request.param
