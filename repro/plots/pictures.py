"""Pictures about images: an image with a caption, many of them on a sheet, and a confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

INK, PAPER = (34, 34, 34), (255, 255, 255)
# fonts with Chinese signs that Linux, Windows and macOS come with; matplotlib's own has none
CHINESE = ("Noto Sans CJK SC", "Source Han Sans CN", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Droid Sans Fallback",
           "Microsoft YaHei", "SimHei", "PingFang SC", "Heiti TC", "Arial Unicode MS")  # fmt: skip


def captioned(image: Image.Image, lines: Sequence[str], side: int) -> Image.Image:
    """The image on paper `side` pixels wide, its longer side scaled to that, with the lines below, shortened to fit."""
    scale = side / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    font = _font(max(12, side // 24), "".join(lines))
    height = font.size * 3 // 2
    paper = Image.new("RGB", (side, round(size[1] + height * (len(lines) + 0.25))), PAPER)
    paper.paste(image.resize(size, Image.Resampling.BICUBIC), ((side - size[0]) // 2, 0))
    draw = ImageDraw.Draw(paper)
    for number, line in enumerate(lines):
        draw.text((4, size[1] + height * number + height // 6), _shortened(line, font, side - 8), INK, font)
    return paper


def sheet(tiles: Sequence[Image.Image], columns: int, gap: int = 8) -> Image.Image:
    """The tiles in rows, each in the lower middle of a cell as large as the largest."""
    width, height = (max(tile.size[axis] for tile in tiles) for axis in (0, 1))
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    paper = Image.new("RGB", (columns * (width + gap) + gap, rows * (height + gap) + gap), PAPER)
    for index, tile in enumerate(tiles):
        row, column = divmod(index, columns)
        x, y = gap + column * (width + gap), gap + row * (height + gap)
        paper.paste(tile, (x + (width - tile.width) // 2, y + height - tile.height))
    return paper


def confusion(matrix: np.ndarray, classes: Sequence[str], title: str, path: Path) -> None:
    """The matrix int (classes, classes), true by predicted, as a PNG: shaded by the share of the true class, with the
    counts written in where they can be read. For 2 to 100 classes; more get no names."""
    families = _families()
    from matplotlib.figure import Figure

    count = len(classes)
    side = min(max(0.45 * count, 2.5), 14)  # of the matrix, in inches
    letters = min(max(side / count * 72 * 0.55, 4.5), 10)  # height in points: rows must not touch
    names = [name if len(name) <= 24 else f"{name[:23]}…" for name in classes] if count <= 100 else []
    margin = max((len(name) for name in names), default=0) * letters * 0.6 / 72 + 0.6
    figure = Figure(figsize=(side + margin + 1.2, side + margin + 0.5), layout="constrained")
    axes = figure.subplots()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, shrink=0.6, label="share of the true class")
    for set_ticks, rotation in ((axes.set_xticks, 90), (axes.set_yticks, 0)):
        set_ticks(range(len(names)), names, rotation=rotation, fontsize=letters, family=families, parse_math=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(title, loc="left", fontsize=11, parse_math=False)
    if count <= 40:
        for true, predicted in np.argwhere(matrix):
            color = "white" if shares[true, predicted] > 0.5 else "black"
            text = str(matrix[true, predicted])
            axes.text(predicted, true, text, color=color, ha="center", va="center", fontsize=letters * 0.8)
    figure.savefig(path, format="png", dpi=100 if count <= 40 else 150, bbox_inches="tight")


def _families() -> list[str]:
    """matplotlib's font, which has more alphabets than Pillow's own, and one with Chinese signs if there is one."""
    import logging

    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # Paddle makes loggers talk
    from matplotlib import font_manager

    installed = {font.name for font in font_manager.fontManager.ttflist}
    return ["DejaVu Sans", *[name for name in CHINESE if name in installed][:1]]


def _font(size: int, text: str) -> ImageFont.FreeTypeFont:
    """The first font that has all signs of the text, or matplotlib's."""
    from matplotlib import font_manager

    paths = [font_manager.findfont(name) for name in _families()]
    signs = {ord(sign) for sign in text}
    complete = (path for path in paths if signs <= font_manager.get_font(path).get_charmap().keys())
    return ImageFont.truetype(next(complete, paths[0]), size)


def _shortened(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"
