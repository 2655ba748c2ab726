"""Images with captions, and sheets of them."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

from repro.plots.fonts import font_for, shortened

INK, PAPER = (34, 34, 34), (255, 255, 255)


def captioned(image: Image.Image, lines: Sequence[str], side: int) -> Image.Image:
    """Return the image with lines of text below it, each shortened to fit.

    The picture is `side` pixels wide, and the longer side of the image is scaled to that.
    """
    scale = side / max(image.size)
    width, height = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    font = font_for("".join(lines), max(12, side // 24))
    line_height = font.size * 3 // 2
    paper = Image.new("RGB", (side, round(height + line_height * (len(lines) + 0.25))), PAPER)
    paper.paste(image.resize((width, height), Image.Resampling.BICUBIC), ((side - width) // 2, 0))
    draw = ImageDraw.Draw(paper)
    for number, line in enumerate(lines):
        position = 4, height + line_height * number + line_height // 6
        draw.text(position, shortened(line, font, side - 8), INK, font)
    return paper


def sheet(tiles: Sequence[Image.Image], columns: int, gap: int = 8) -> Image.Image:
    """Return the tiles in rows, each at the bottom centre of a cell as large as the largest tile; sizes in pixels."""
    width, height = (max(tile.size[axis] for tile in tiles) for axis in (0, 1))
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    paper = Image.new("RGB", (columns * (width + gap) + gap, rows * (height + gap) + gap), PAPER)
    for index, tile in enumerate(tiles):
        row, column = divmod(index, columns)
        x, y = gap + column * (width + gap), gap + row * (height + gap)
        paper.paste(tile, (x + (width - tile.width) // 2, y + height - tile.height))
    return paper
