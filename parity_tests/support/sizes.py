"""Marks of tests by the size of the network."""

from __future__ import annotations

import pytest

from repro.specs import find_spec

SLOW_PARAMS = 7_000_000
SLOW_MACS = 200_000_000


def slow_if_large(model: str) -> list[pytest.MarkDecorator]:
    """Return the marks of a test of this variant: `make test` leaves out large networks."""
    spec = find_spec(model)
    return [pytest.mark.slow] if spec.params > SLOW_PARAMS or spec.macs > SLOW_MACS else []
