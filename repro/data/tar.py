"""Data sets in a .tar, read in place: laid out as in folders, with or without one folder around all. Not trusted."""

from __future__ import annotations

import itertools
import tarfile
from collections import defaultdict
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath

from PIL import Image

from repro.data.decode import decode
from repro.data.folder import arrange, is_image
from repro.data.subset import ImageSource
from repro.untrusted import printable, reading

LARGEST = 2**28  # bytes of one image file
WHAT = "an uncompressed .tar of images"
Names = tuple[str, ...]  # of the folders around an image, and its own


@dataclass(frozen=True)
class _Members:
    """Opens the file anew for each image: threads and processes then have a position of their own."""

    path: Path
    places: dict[str, tuple[int, int]]  # name -> where it begins, and its bytes

    def __call__(self, name: str) -> Image.Image:
        start, size = self.places[name]
        with reading(self.path, WHAT), self.path.open("rb") as file:
            file.seek(start)
            content = file.read(size)
        return decode(self.path / name, BytesIO(content))


def tar(path: Path) -> ImageSource:
    """The classes and images of a .tar. Hidden members, and those without an image's extension, are left out.

    Raises ReproError for what is no .tar, is compressed, damaged or cut short, for an image that is a link or larger
    than LARGEST, a name that leads out of the archive, and for a layout that a folder may not have either.
    """
    with reading(path, WHAT):
        found = _index(path)
    if len({names[0] for names in found}) == 1 and any(len(names) > 2 for names in found):
        found = {names[1:]: place for names, place in found.items()}
    places = {"/".join(names): place for names, place in found.items()}
    folders: dict[str, set[str]] = defaultdict(set)
    images: dict[str, list[str]] = defaultdict(list)
    for *around, image in found:
        prefixes = ["", *itertools.accumulate(f"{name}/" for name in around)]
        images[prefixes[-1]].append(image)
        for prefix, name in zip(prefixes, around, strict=False):
            folders[prefix].add(name)
    return arrange(path, lambda prefix: (sorted(folders[prefix]), sorted(images[prefix])), _Members(path, places))


def _index(path: Path) -> dict[Names, tuple[int, int]]:
    """Where each image is. Of two with the same name the last counts, as when a .tar is unpacked."""
    found: dict[Names, tuple[int, int]] = {}
    try:
        with tarfile.open(path, "r:") as archive, path.open("rb") as file:
            while member := archive.next():
                archive.members.clear()  # type: ignore[attr-defined]  # it would keep them all
                if member.size < 0:  # tarfile would go round in circles
                    raise ValueError(f"it is damaged at byte {member.offset}")
                names = PurePosixPath(member.name).parts
                if member.isdir() or len(names) < 2 or not is_image(names[-1]):
                    continue
                name = printable(member.name)
                if names[0] == "/" or ".." in names or name != member.name:
                    raise ValueError(f"it holds an image named {name}, which is no place in a folder")
                if any(part.startswith(".") for part in names):
                    continue
                if not member.isreg() or member.issparse():
                    raise ValueError(f"{name} is a link or no plain file; pack with --dereference --hard-dereference")
                if member.size > LARGEST:
                    raise ValueError(f"{name} has {member.size:,} bytes, more than {LARGEST:,}")
                found[names] = member.offset_data, member.size
            file.seek(archive.offset)
            if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):  # what tarfile takes for the end may be none
                raise ValueError(f"it is cut short or damaged at byte {archive.offset}")
    except tarfile.TarError as error:
        raise ValueError(str(error)) from error
    return found
