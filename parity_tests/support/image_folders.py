"""Folders of small images to train on."""

from __future__ import annotations

from pathlib import Path

from PIL import Image


def write_photos(folder: str | Path, classes: str = "abc", count: int = 6) -> None:
    """Write `count` PNG images of 10 x 12 pixels for each class, FOLDER/CLASS/NUMBER.png, each of a single color.

    The red channel depends on the class, and the green channel on the number of the image.
    """
    for label, name in enumerate(classes):
        Path(folder, name).mkdir(parents=True)
        for number in range(count):
            image = Image.new("RGB", (10, 12), (60 * label, 10 * number, 0))
            image.save(Path(folder, name, f"{number}.png"))
