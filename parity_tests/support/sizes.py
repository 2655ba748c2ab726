"""Marks of tests by the size of the network."""

from __future__ import annotations

import pytest

from repro.specs import find_spec

SLOW_PARAMS = 7_000_000


def slow_if_large(model: str) -> list[pytest.MarkDecorator]:
    """Return the marks of a test of this variant: `make test` leaves out large networks."""
    return [pytest.mark.slow] if find_spec(model).params > SLOW_PARAMS else []
