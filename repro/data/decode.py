"""Image files, which are not trusted, to RGB."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageOps

from repro.errors import ReproError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm")
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")  # others start programs (EPS) or are rarely looked at
MAX_PIXELS = 2**26  # 192 MiB as RGB; checked before anything is decoded
MAX_SIDE = 2**16  # of a longer image, resizing one side first would make gigabytes
REMEDY = "replace it or take it out"

# What Pillow warns of is either harmless (odd metadata) or an error here. Silenced once, not around each image:
# catch_warnings is not for threads, and makes Python forget which warnings of others it has already shown.
warnings.filterwarnings("ignore", module=r"PIL\.")


def decode(path: Path, file: BinaryIO | None = None) -> Image.Image:
    """The image as RGB, upright as its EXIF orientation says; of an animation the first frame.

    file: what to read in place of the file at `path`, which is then but a name.
    Raises ReproError, which names `path`, for one that is missing, cut short, damaged, larger than MAX_PIXELS or
    MAX_SIDE, of another format, or of more than 8 bits (Pillow would clip its values).
    """
    try:
        if file is None and not path.is_file():  # opening a pipe would wait for ever
            raise ValueError("a link to nowhere" if path.is_symlink() else "no such file")
        return _decode(file or path)
    except Exception as error:  # Pillow's readers raise whatever they stumble over
        known = isinstance(error, Image.UnidentifiedImageError)
        reason = "not an image of a known format" if known else getattr(error, "strerror", None) or error
        raise ReproError(f"cannot read {path} ({reason}); {REMEDY}") from error


def _decode(file: Path | BinaryIO) -> Image.Image:
    with Image.open(file, formats=FORMATS) as image:
        if image.width * image.height > MAX_PIXELS or max(image.size) > MAX_SIDE:
            raise ValueError(
                f"{image.width} x {image.height} pixels, more than {MAX_PIXELS:,} or {MAX_SIDE:,} on a side"
            )
        if image.mode.startswith(("I", "F")):
            raise ValueError("more than 8 bits per channel")
        return ImageOps.exif_transpose(image).convert("RGB")
