"""AsymmNet's bottleneck worked by hand, since no package has it. Its counts are in test_specs.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from repro.specs.asymmnet import asymmnet


@pytest.mark.parametrize("width", [0.35, 0.5, 0.75, 1.0])
def test_the_first_block_keeps_its_shortcut_at_every_width(width: float) -> None:
    """The authors' MXNet code drops it at widths up to 0.5."""
    block = asymmnet("large", width=width).stages[0][0]
    assert block.residual
    assert block.channels_in == (16 if width > 0.5 else 8)


def test_bottleneck_worked_by_hand(backend: str, run_program: Callable[..., Any]) -> None:
    """One pixel of 1 is expanded to 2 and 3.

    The projection weighs its inputs with powers of ten, so that the digits of its output spell their order: copies of
    the input (1), expanded channels (2, 3), copies of the input (1). The shortcut adds 1.
    """
    for asymmrate, expected in ((0, 32 + 1), (1, 1321 + 1), (2, 113211 + 1)):
        stem, output = run_program(backend, "asymmnet:bottleneck_outputs", backend, asymmrate)
        assert abs(stem - 1) < 1e-5
        assert abs(output / expected - 1) < 1e-4, (asymmrate, output)
