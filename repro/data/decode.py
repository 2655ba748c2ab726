"""Decoding of untrusted image files to RGB."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageOps

from repro.errors import ReproError

EXTENSIONS = (
    ".jpg", ".jpeg", ".jfif", ".jpe", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm",
)  # fmt: skip
FORMATS = (
    "JPEG",
    "PNG",
    "BMP",
    "GIF",
    "WEBP",
    "TIFF",
    "PPM",
)  # others start programs (EPS) or have rarely used readers
MAX_PIXELS = 2**26  # 192 MiB as RGB; checked before anything is decoded
MAX_SIDE = 2**16  # resizing one side of a longer image first would take gigabytes
REMEDY = "replace or remove it"
ORIENTATION = 0x0112  # the EXIF tag; from 5 on, width and height are exchanged

Divisor = Callable[[int, int], int]
"""A function of the width and height of an upright image: the divisor of its sides, 1, 2, 4 or 8."""

# Pillow warns about what is harmless (unusual metadata) or an error here. The warnings are silenced once and not around
# each image: catch_warnings is not thread-safe, and makes Python repeat warnings of other modules.
warnings.filterwarnings("ignore", module=r"PIL\.")


def decode(path: Path, file: BinaryIO | None = None, divisor: Divisor | None = None) -> Image.Image:
    """Return an image as RGB, turned upright by its EXIF orientation. An animation gives its first frame.

    file: read instead of the file at `path`, which is then only a name for messages.
    divisor: called for a JPEG, whose sides libjpeg then divides by the result, rounded up, while it decodes the file.
    Raises ReproError for a file that is missing, cut short, damaged, larger than MAX_PIXELS or MAX_SIDE, not in one of
    FORMATS, or of more than 8 bits per channel, which Pillow would clip.
    """
    try:
        if file is None and not path.is_file():  # opening a pipe would wait for ever
            raise ValueError("a broken link" if path.is_symlink() else "no such file")
        return _decode(file or path, divisor)
    except Exception as error:  # Pillow's readers raise errors of any type
        known = isinstance(error, Image.UnidentifiedImageError)
        reason = "not an image of a known format" if known else getattr(error, "strerror", None) or error
        raise ReproError(f"cannot read {path} ({reason}); {REMEDY}") from error


def _decode(file: Path | BinaryIO, divisor: Divisor | None) -> Image.Image:
    with Image.open(file, formats=FORMATS) as image:
        if image.width * image.height > MAX_PIXELS or max(image.size) > MAX_SIDE:
            raise ValueError(
                f"{image.width} x {image.height} pixels, more than {MAX_PIXELS:,} or {MAX_SIDE:,} on a side"
            )
        if image.mode.startswith(("I", "F")):
            raise ValueError("more than 8 bits per channel")
        if divisor and image.format == "JPEG":
            is_turned = image.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8)
            scale = divisor(*(image.size[::-1] if is_turned else image.size))
            image.draft(None, (image.width // scale, image.height // scale))
        ImageOps.exif_transpose(image, in_place=True)
        # convert copies an image that is RGB already; it must do so where Pillow maps the file, which may change
        return image if image.mode == "RGB" and not image.readonly else image.convert("RGB")
