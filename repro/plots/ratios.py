"""Bars of ratios, with their spreads."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from repro.files import replacing


class Bar(NamedTuple):
    """A ratio, with the distance to either end of its error bar."""

    label: str
    ratio: float
    spread: float


def draw_ratios(bars: Sequence[Bar], title: str, path: Path) -> None:
    """Write a PNG, 1000 pixels wide, with a horizontal bar for each ratio, and a line at 1.

    Raises ReproError if the file cannot be written.
    """
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    from matplotlib.figure import Figure  # without pyplot, which needs a display and keeps state

    figure = Figure(figsize=(10, 1.2 + 0.32 * len(bars)), layout="constrained")
    axes = figure.subplots()
    colors = ["#3b7a57" if bar.ratio >= 1 else "#d1495b" for bar in bars]
    drawn = axes.barh(range(len(bars)), [bar.ratio for bar in bars], xerr=[bar.spread for bar in bars], color=colors)
    axes.bar_label(drawn, fmt="%.2f", padding=4, fontsize=9)
    axes.set_yticks(range(len(bars)), [bar.label for bar in bars], fontsize=9, parse_math=False)
    axes.invert_yaxis()
    axes.axvline(1, color="black", lw=0.8)
    axes.margins(x=0.12)
    axes.set_xlabel("times as fast as the other")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, loc="left", fontsize=11, parse_math=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)
