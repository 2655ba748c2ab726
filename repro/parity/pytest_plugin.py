"""Fixtures for tests of ported models: `pytest_plugins = ["repro.parity.pytest_plugin"]` in conftest.py.

A test that takes `assert_parity` fails with the report where the models differ:

    def test_port(assert_parity):
        assert_parity(torch="torch_net:Net", paddle="paddle_net:Net", inputs="2,3,32,32")
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from repro.parity import Comparison, check
from repro.workers.client import Worker


@pytest.fixture(scope="session")
def parity_workers() -> Iterator[dict[str, Worker]]:
    """The processes of the frameworks, started by the first test that needs them and shared by all."""
    workers: dict[str, Worker] = {}
    yield workers
    for worker in workers.values():
        worker.close()


@pytest.fixture
def assert_parity(parity_workers: dict[str, Worker], request: pytest.FixtureRequest) -> Callable[..., Comparison]:
    """A function that takes the arguments of repro.parity.check, and fails the test unless the models agree.

    Modules are imported from the folder of the test's file, unless a `folder` is given. Returns the comparison.
    """

    def assert_agreement(**arguments: Any) -> Comparison:
        defaults: dict[str, Any] = {"folder": request.path.parent, "workers": parity_workers}
        comparison = check(**defaults | arguments)
        if not comparison.agrees:
            pytest.fail(f"the models differ\n{comparison.report()}", pytrace=False)
        return comparison

    return assert_agreement
