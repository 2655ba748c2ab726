"""Tests of repro.plots.sheets and of the fonts that captions are drawn with (repro.plots.fonts)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from PIL import Image

from repro.plots.confusion_matrix import draw_confusion_matrix
from repro.plots.sheets import captioned, sheet


def test_captions_are_cut_to_fit_and_thin_images_stay_visible() -> None:
    short, long = (captioned(Image.new("RGB", (50, 50)), [text], 160) for text in ("daisy", "daisy " * 100))
    assert short.size == long.size == (160, short.height) and short.height > 170
    assert captioned(Image.new("RGB", (10_000, 1)), ["a"], 160).getpixel((80, 0)) == (0, 0, 0)


def test_sheets_have_rows_of_tiles() -> None:
    tile = captioned(Image.new("RGB", (50, 50)), ["daisy"], 160)
    assert sheet([tile] * 7, 6).size == (6 * 168 + 8, 2 * (tile.height + 8) + 8)
    assert sheet([tile] * 2, 6).size == (2 * 168 + 8, tile.height + 16)


def save_font(path: Path, name: str, character: str) -> None:
    """Write a font whose only character is a black square."""
    square = TTGlyphPen(None)
    square.moveTo((0, 0))
    for corner in ((0, 1000), (1000, 1000), (1000, 0)):
        square.lineTo(corner)
    square.closePath()
    font = FontBuilder(1000)
    font.setupGlyphOrder([".notdef", "square"])
    font.setupCharacterMap({ord(character): "square"})
    font.setupGlyf(dict.fromkeys((".notdef", "square"), square.glyph()))
    font.setupHorizontalMetrics({".notdef": (1000, 0), "square": (1000, 0)})
    font.setupHorizontalHeader(ascent=1000, descent=0)
    font.setupNameTable({"familyName": name, "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.save(path)


def ink(picture: Image.Image) -> int:
    """Return the number of dark pixels below an image of 160 pixels."""
    return int((np.asarray(picture.convert("L"))[162:] < 128).sum())


def test_chinese_class_names_are_drawn_with_a_font_that_has_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from matplotlib import font_manager

    monkeypatch.setattr("repro.plots.fonts.CHINESE", ("Drawn Here",))
    image = Image.new("RGB", (50, 50))
    without_font = captioned(image, ["花"], 160)
    save_font(tmp_path / "drawn.ttf", "Drawn Here", "花")
    fonts = font_manager.fontManager
    monkeypatch.setattr(fonts, "ttflist", list(fonts.ttflist))
    fonts.addfont(tmp_path / "drawn.ttf")
    assert ink(captioned(image, ["花"], 160)) > 100 > ink(without_font)
    assert ink(captioned(image, ["daisy 花"], 160)) < 150  # in the default font, since this one has no Latin letters
    draw_confusion_matrix(np.eye(2, dtype=int), ["花", "daisy"], "title", tmp_path / "c.png")
