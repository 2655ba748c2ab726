"""Checkpoints as people have them: the table of docs/checkpoints.md, and the weights in every one of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "checkpoints.md"
# weights that are initialised, or computed from those of the file
CHANGED = ("--num-classes", "--in-channels")


@pytest.mark.slow
def test_the_table_is_what_comes_out(
    run_program: Callable[..., Any], require_package: Callable[[str], None], require_backend: Callable[[str], None]
) -> None:
    require_backend("torch")
    require_package("torchvision")
    table, rows = run_program("torch", "checkpoint_table:table_and_rows")
    assert len(rows) > 40
    for title, flags, taken, said, is_exact in rows:
        assert is_exact == (taken != "nothing" and not any(flag in flags for flag in CHANGED)), (title, said)
        assert taken != "nothing" or (len(said) == 1 and said[0].isprintable()), title
    assert table in PAGE.read_text()
