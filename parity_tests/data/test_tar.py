"""Data sets in a .tar: their images and splits, and damaged or hostile files."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from repro.data import Dataset, Loader, Transform, open_dataset
from repro.data.tar import tar_source
from repro.errors import ReproError

PLAIN = Transform(image_size=4, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def refused(path: Path, message: str) -> None:
    with pytest.raises(ReproError, match=message) as caught:
        open_dataset(path)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)


def images(data: Dataset) -> list[bytes]:
    return [part.image(index).tobytes() for part in (data.train, data.val) for index in range(len(part))]


def png(red: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (5, 4), (red, 10, 20)).save(buffer, "png")
    return buffer.getvalue()


def member(name: str, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def write_tar(path: Path, contents: dict[str, bytes], *others: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in contents.items():
            archive.addfile(member(name, size=len(content)), io.BytesIO(content))
        for info in others:
            archive.addfile(info)
    return path


def pets(prefix: str = "") -> dict[str, bytes]:
    """Class dog has 4 images and class cat 3; the red of an image is its number."""
    return {
        f"{prefix}{name}/{number}.png": png(number)
        for name, count in (("dog", 4), ("cat", 3))
        for number in range(count)
    }


@pytest.mark.parametrize("around", ["", "./", "pets/", "./pets/", "train/"])
@pytest.mark.parametrize("parts", [[""], ["train/", "val/"], ["test/", "train/"]])
def test_a_tar_holds_the_data_set_of_its_folder(tmp_path: Path, around: str, parts: list[str]) -> None:
    contents = {name: content for part in parts for name, content in pets(part).items()}
    for name, content in contents.items():
        file = tmp_path / "pets" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    path = write_tar(tmp_path / "pets.tar", {f"{around}{name}": content for name, content in contents.items()})
    data, folder = open_dataset(path), open_dataset(tmp_path / "pets")
    assert data.classes == folder.classes == ("cat", "dog")
    assert (data.name, folder.name) == ("pets.tar", "pets")
    assert (data.digest, data.split) == (folder.digest, folder.split)
    assert images(data) == images(folder)
    assert data.split == (
        f"folders train and {parts[0][:-1] if parts[0] != 'train/' else 'val'}" if parts[1:] else "every-fifth"
    )


def test_val_goes_before_test(tmp_path: Path) -> None:
    contents = {name: content for part in ("test/", "train/", "val/") for name, content in pets(part).items()}
    data = open_dataset(write_tar(tmp_path / "pets.tar", contents))
    assert data.split == "folders train and val"
    assert all(name.startswith("val/") for name in data.val.names)


def test_other_members_are_left_out(tmp_path: Path) -> None:
    plain = open_dataset(write_tar(tmp_path / "plain.tar", pets("pets/")))
    others = {"pets/cat/._1.png": b"macOS", "pets/cat/notes.txt": b"", ".cache/emu/1.png": b"", "readme.txt": b"?"}
    folders = [member(name, type=tarfile.DIRTYPE) for name in ("pets", "pets/emu.png", "pets/fox")]
    links = [member("pets/cat/link", type=tarfile.SYMTYPE, linkname="/etc/passwd")]
    data = open_dataset(write_tar(tmp_path / "full.tar", pets("pets/") | others, *folders, *links))
    assert data.digest == plain.digest
    assert (plain.ignored, data.ignored) == (
        (),
        ("files without an image's extension (1, such as pets/cat/notes.txt)",),
    )


def test_last_member_of_a_name_counts(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "pets.tar", pets())
    with tarfile.open(path, "a") as archive:
        archive.addfile(member("cat/1.png", size=len(png(99))), io.BytesIO(png(99)))
    data = open_dataset(path)
    assert len(data.train) + len(data.val) == 7
    assert data.train.image(data.train.names.index("cat/1.png")).getpixel((0, 0)) == (99, 10, 20)


def test_processes_read_the_tar_by_themselves(tmp_path: Path) -> None:
    data = open_dataset(write_tar(tmp_path / "pets.tar", pets("pets/")))
    batches = []
    for workers in (0, 2):
        with Loader(data, batch_size=2, workers=workers) as loader:
            batches.append([x.tobytes() + y.tobytes() for x, y in [*loader.train(0, PLAIN), *loader.val(PLAIN)]])
    assert batches[0] == batches[1]
    assert len(batches[0]) == 3


def test_broken_image_in_a_tar_is_named(tmp_path: Path) -> None:
    data = open_dataset(write_tar(tmp_path / "pets.tar", pets() | {"cat/0.png": b"<html>", "dog/0.png": png(1)[:45]}))
    for index, name in ((0, "cat/0.png"), (1, "dog/0.png")):
        with pytest.raises(
            ReproError, match=rf"^cannot read {tmp_path}/pets\.tar/{name} \(.*\); replace or remove it$"
        ):
            data.val.image(index)
    (tmp_path / "pets.tar").unlink()
    with pytest.raises(ReproError, match=r"pets\.tar is missing"):
        data.val.image(0)


@pytest.mark.parametrize(
    ("info", "message"),
    [
        (member("../up.png"), r"holds an image named \.\./up\.png"), (member("cat/../../up.png"), "an image named"),
        (member("/etc/up.png"), "holds an image named /etc/up.png"), (member("cat/a\x1b[2J.png"), r"named cat/a\?\[2J"),
        (member("cat/\udce9.png"), "holds an image named"),
        (member("cat/l.png", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "cat/l.png is not a regular file;"),
        (member("cat/h.png", type=tarfile.LNKTYPE, linkname="dog/1.png"), "cat/h.png is not a regular"),
        (member("cat/f.png", type=tarfile.FIFOTYPE), "cat/f.png is not a regular file"),
        (member("cat/d.png", type=tarfile.CHRTYPE), "cat/d.png is not a regular file"),
        (member("cat/s.png", pax_headers={"GNU.sparse.size": "8", "GNU.sparse.map": "0,0"}), "s.png is not a regular"),
    ],
)  # fmt: skip
def test_members_that_are_refused(tmp_path: Path, info: tarfile.TarInfo, message: str) -> None:
    refused(write_tar(tmp_path / "pets.tar", pets(), info), message)


def test_large_member_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_tar(tmp_path / "pets.tar", pets() | {"cat/big.png": bytes(1000)})
    monkeypatch.setattr("repro.data.tar.LARGEST", 999)
    refused(path, r"cat/big.png has 1,000 bytes, more than 999")


def header(size: bytes, kind: bytes = b"0") -> bytes:
    """Return the header of a member with a size that tarfile would not write."""
    block = bytearray(member("cat/9.png").tobuf(tarfile.USTAR_FORMAT))
    block[124:136], block[156:157] = size, kind
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize("kind", [b"0", b"x", b"L", b"g", b"S"], ids=["file", "pax", "long name", "global", "sparse"])
@pytest.mark.parametrize(
    "size", [b"77777777777\0", b"\x80" + b"\x7f" * 11, b"\xff" * 10 + b"\xfe\0", b"\xff" * 12, b"-0000000512\0"],
    ids=["8 GiB", "beyond all", "-512", "-1", "-512 in digits"],
)  # fmt: skip
def test_sizes_in_a_tar_are_not_trusted(tmp_path: Path, size: bytes, kind: bytes) -> None:
    path = write_tar(tmp_path / "pets.tar", pets())
    content, sound = path.read_bytes(), images(open_dataset(path))
    for place in (0, 1024):  # the first member, and the second
        path.write_bytes(content[:place] + header(size, kind) + content[place:])
        try:
            names = images(open_dataset(path))
        except ReproError as error:
            assert str(error).startswith(f"cannot read {path} as an uncompressed .tar of images: ")
        else:
            assert kind in b"xLg"  # a header without influence on the next member, or one that hides it
            assert set(names) <= set(sound)


def test_tar_that_was_cut_short(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "pets.tar", pets())
    content = path.read_bytes()
    end = len(content.rstrip(b"\0")) // 512 * 512 + 512
    for length in (*range(0, end, 256), end):
        path.write_bytes(content[:length])
        refused(path, r"cannot read .*pets\.tar as an uncompressed \.tar of images: ")
    path.write_bytes(content[: end + 512])
    assert len(open_dataset(path).train) == 5
    path.write_bytes(content[:1024] + b"\1" * 512 + content[1536:])  # tarfile takes this for the end
    refused(path, "is cut short or damaged at byte 1024")


# mtime=0: processes of pytest that start in different seconds need equal names of the test
@pytest.mark.parametrize("content", [b"", b"<html>404</html>", bytes(600), gzip.compress(bytes(2048), mtime=0)])
def test_files_that_are_not_a_tar(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "pets.tar"
    path.write_bytes(content)
    refused(path, r"cannot read .*pets\.tar as an uncompressed \.tar|has no class folders")


def test_other_layouts_in_a_tar(tmp_path: Path) -> None:
    path = tmp_path / "pets.tar"
    refused(path, "pets.tar is missing; give an uncompressed .tar of images")
    write_tar(path, {})
    refused(path, "has no class folders; give a folder of CLASS/IMAGE")
    write_tar(path, {"1.png": png(1), "2.png": png(2)})
    refused(path, "has no class folders")
    write_tar(path, {"cat/1.png": png(1), "cat/2.png": png(2)})
    refused(path, "has only one class folder, cat")
    write_tar(path, pets("train/") | pets("val/") | {"val/emu/1.png": png(1)})
    refused(path, r"different classes \(only in val: emu\)")
    path.rename(tmp_path / "pets.tar.gz")
    refused(tmp_path / "pets.tar.gz", "is not a folder; .* or a .tar of these")


SOUND = {name: content[:8] for name, content in pets("pets/").items()}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    path = write_tar(tmp_path_factory.mktemp("hostile") / "pets.tar", SOUND, member("x" * 120 + ".txt"))
    return path, path.read_bytes()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 9000), st.integers(0, 255)), min_size=1, max_size=4))
def test_flipped_bytes_of_a_tar(sound: tuple[Path, bytes], flips: list[tuple[int, int]]) -> None:
    path, content = sound
    damaged = bytearray(content)
    for place, value in flips:
        damaged[place % len(damaged)] = value
    path.write_bytes(damaged)
    try:
        source = tar_source(path)
    except ReproError as error:
        assert "\n" not in str(error)
    else:
        assert all(len(subset) for subset in source.subsets)
