"""Fonts that can draw class names, Chinese ones included."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

DEFAULT = "DejaVu Sans"  # comes with matplotlib; covers more alphabets than Pillow's own font, but not Chinese
CHINESE = (
    # Linux
    "Noto Sans CJK SC", "Source Han Sans CN", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Droid Sans Fallback",
    # Windows and macOS
    "Microsoft YaHei", "SimHei", "PingFang SC", "Heiti TC", "Arial Unicode MS",
)  # fmt: skip
"""Fonts with Chinese characters that operating systems come with, in order of preference."""


def font_families() -> list[str]:
    """Return the names of matplotlib's default font and of the first installed Chinese font, if there is one."""
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # Paddle enables every logger, and fonts log at length
    from matplotlib import font_manager

    installed = {font.name for font in font_manager.fontManager.ttflist}
    return [DEFAULT, *[name for name in CHINESE if name in installed][:1]]


def font_for(text: str, size: int) -> FreeTypeFont:
    """Return the first font that has every character of `text`, or the default font; `size` is in pixels."""
    from matplotlib import font_manager
    from PIL import ImageFont

    paths = [font_manager.findfont(name) for name in font_families()]
    characters = set(map(ord, text))
    complete = (path for path in paths if characters <= font_manager.get_font(path).get_charmap().keys())
    return ImageFont.truetype(next(complete, paths[0]), size)


def shortened(text: str, font: FreeTypeFont, width: int) -> str:
    """Return `text`, cut and ended by an ellipsis if it is wider than `width` pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"
