"""MindSpore's compiled step comes from the user's cache only where everything that it depends on is the same."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.slow
def test_a_cached_graph_changes_no_bit(
    run_program: Callable[..., Any], require_backend: Callable[[str], None], tmp_path: Path
) -> None:
    require_backend("mindspore")

    def digest(momentum: float, batch: int = 4, *, keep_graph: bool = True) -> str:
        return run_program("mindspore", "graph_cache:digest_of_steps", str(tmp_path), keep_graph, momentum, batch)

    def folders() -> set[Path]:
        return set((tmp_path / "repro" / "mindspore").glob("*"))

    expected = digest(0.9, keep_graph=False)
    assert folders() == set()
    assert digest(0.9) == expected
    (first,) = folders()
    assert digest(0.9) == expected
    assert folders() == {first}

    slower = digest(0.5)
    assert slower == digest(0.5, keep_graph=False) != expected
    (second,) = folders() - {first}
    digest(0.9, 6)
    assert len(folders()) == 3

    shutil.rmtree(second)
    shutil.copytree(first, second)
    assert digest(0.5) == expected  # the graph is used, and MindSpore does not see that it has another momentum

    (graph,) = first.rglob("*.mindir")
    graph.chmod(0o600)
    graph.write_bytes(graph.read_bytes()[:1000])
    assert digest(0.9) == expected  # a damaged file is compiled again
