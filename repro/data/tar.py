"""Data sets in an untrusted .tar, read in place. The layout is that of folders, with or without an outer folder."""

from __future__ import annotations

import itertools
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath

from PIL import Image

from repro.data.decode import Divisor, decode
from repro.data.folder import NO_IMAGES, in_words, source_in_layout
from repro.data.listing import Listing, is_image
from repro.data.subset import ImageSource
from repro.untrusted import printable, reading

LARGEST = 2**28  # bytes of one image file
WHAT = "an uncompressed .tar of images"
PathParts = tuple[str, ...]  # the names of the folders around an image, and its own name


@dataclass(frozen=True)
class _Members:
    """Reads images. The file is opened for each one, so that threads and processes do not share a position."""

    path: Path
    places: dict[str, tuple[int, int]]  # name -> first byte and number of bytes

    def __call__(self, name: str, divisor: Divisor | None = None) -> Image.Image:
        start, size = self.places[name]
        with reading(self.path, WHAT), self.path.open("rb") as file:
            file.seek(start)
            content = file.read(size)
        return decode(self.path / name, BytesIO(content), divisor)


def tar_source(path: Path) -> ImageSource:
    """Return the classes and images of a .tar. Hidden members are left out.

    Raises ReproError for a file that is not a .tar, is compressed, damaged or cut short, for an image that is a link or
    larger than LARGEST, for a name that leads out of the archive, and for another layout than that of folders.
    """
    with reading(path, WHAT):
        index, others = _index(path)
    if len({names[0] for names in index}) == 1 and any(len(names) > 2 for names in index):
        index = {names[1:]: place for names, place in index.items()}  # without the outer folder
    places = {"/".join(names): place for names, place in index.items()}
    folders: dict[str, set[str]] = defaultdict(set)
    images: dict[str, list[str]] = defaultdict(list)
    for *around, image in index:
        prefixes = ["", *itertools.accumulate(f"{name}/" for name in around)]
        images[prefixes[-1]].append(image)
        for prefix, name in zip(prefixes, around, strict=False):
            folders[prefix].add(name)

    def list_folder(prefix: str) -> Listing:
        return Listing(sorted(folders[prefix]), sorted(images[prefix]), [])

    source = source_in_layout(path, list_folder, _Members(path, places))
    return source._replace(ignored=source.ignored + in_words(NO_IMAGES, others))


def members(path: Path) -> Iterator[tarfile.TarInfo]:
    """Yield the members of a .tar, one at a time. Raises ValueError where it is damaged or cut short."""
    try:
        with tarfile.open(path, "r:") as archive, path.open("rb") as file:
            while member := archive.next():
                archive.members.clear()  # type: ignore[attr-defined]  # otherwise it keeps all of them
                if member.size < 0:  # tarfile would loop forever
                    raise ValueError(f"it is damaged at byte {member.offset}")
                yield member
            file.seek(archive.offset)
            if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):  # tarfile takes some damage for the end
                raise ValueError(f"it is cut short or damaged at byte {archive.offset}")
    except tarfile.TarError as error:
        raise ValueError(str(error)) from error


def check_path(member: tarfile.TarInfo) -> None:
    """Raise ValueError for the name of an image that leads out of the archive."""
    names, name = PurePosixPath(member.name).parts, printable(member.name)
    if names[0] == "/" or ".." in names or name != member.name:
        raise ValueError(f"it holds an image named {name}, which is not a path in a folder")


def image_place(member: tarfile.TarInfo) -> tuple[int, int]:
    """Return the first byte of an image and its number of bytes. Raises ValueError for a link and for large files."""
    name = printable(member.name)
    if not member.isreg() or member.issparse():
        raise ValueError(f"{name} is not a regular file; pack with --dereference --hard-dereference")
    if member.size > LARGEST:
        raise ValueError(f"{name} has {member.size:,} bytes, more than {LARGEST:,}")
    return member.offset_data, member.size


def _index(path: Path) -> tuple[dict[PathParts, tuple[int, int]], list[str]]:
    """Return the place of each image, and the names of other files next to images.

    The last of several images with the same name counts, as when a .tar is unpacked.
    """
    places: dict[PathParts, tuple[int, int]] = {}
    others: list[str] = []
    for member in members(path):
        names = PurePosixPath(member.name).parts
        if member.isdir() or len(names) < 2 or not is_image(names[-1]):
            if member.isfile() and not any(part.startswith(".") for part in names):
                others.append(printable(member.name))
            continue
        check_path(member)
        if any(part.startswith(".") for part in names):
            continue
        places[names] = image_place(member)
    folders = {"/".join(names[:-1]) for names in places}
    return places, [name for name in others if name.rpartition("/")[0] in folders]
