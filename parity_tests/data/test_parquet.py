"""Data sets in Parquet files: columns, subsets, the copy that is made once, and bad files."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

import repro.data.parquet as parquet_module
from parity_tests.data.test_shards import every_image, pairs
from parity_tests.data.test_tar import png
from repro.data import ImageCheck, Loader, Transform, check_images, open_dataset, parquet_copy
from repro.data.split import write_split
from repro.errors import ReproError
from repro.files import user_cache

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
ROOT = Path(__file__).resolve().parents[2]
NAMES = ["zebra", "ant", "mole"]  # labels are positions in the ClassLabel's own order


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def image(number: int) -> dict[str, Any]:
    return {"bytes": png(number), "path": f"{number}.png"}


def metadata(features: dict[str, Any]) -> dict[bytes, bytes]:
    """Return a schema's metadata as `datasets` writes it."""
    return {b"huggingface": json.dumps({"info": {"features": features}}).encode()}


FEATURES = {"image": {"_type": "Image"}, "label": {"names": NAMES, "_type": "ClassLabel"}}


def write(
    path: Path,
    numbers: range,
    *,
    columns: dict[str, Any] | None = None,
    features: dict[str, Any] | None = FEATURES,
    **options: Any,
) -> Path:
    """Write rows of an image whose red is its number, with the label number % 3, or these columns."""
    columns = columns or {
        "image": (IMAGE, [image(number) for number in numbers]),
        "label": (pa.int64(), [number % 3 for number in numbers]),
    }
    schema = pa.schema([(name, kind) for name, (kind, _) in columns.items()], features and metadata(features))
    table = pa.table({name: pa.array(values, kind) for name, (kind, values) in columns.items()}, schema)
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path, **{"row_group_size": 7, **options})
    return path


def test_a_file_and_a_folder_of_files(tmp_path: Path) -> None:
    for part in range(2):
        write(tmp_path / f"data/train-{part:05d}-of-00002.parquet", range(18 * part, 18 * part + 18))
    (tmp_path / "README.md").touch()
    data = open_dataset(tmp_path)
    assert data.classes == tuple(NAMES)
    assert every_image(data) == [(number, number % 3) for number in range(36)]
    assert data.train.names[0] == "train-00000-of-00002.parquet/00000003"
    assert open_dataset(tmp_path / "data").digest == data.digest
    one = open_dataset(tmp_path / "data/train-00001-of-00002.parquet")
    assert every_image(one) == [(number, number % 3) for number in range(18, 36)]
    check_images(ImageCheck(data))
    assert ImageCheck(open_dataset(tmp_path)).images == 0
    with pytest.raises(ReproError, match="is not a folder of CLASS/IMAGE, and its images cannot be copied"):
        write_split(tmp_path, tmp_path / "out", 0.3, 0)


@pytest.mark.parametrize("name", ["validation", "val", "test"])
def test_two_subsets(tmp_path: Path, name: str) -> None:
    write(tmp_path / "data/train-00000-of-00001-0123abcd.parquet", range(9))
    write(tmp_path / f"data/{name}-00000-of-00001.parquet", range(60, 66))
    write(tmp_path / "data/unsupervised-00000-of-00001.parquet", range(1))
    data = open_dataset(tmp_path)
    assert pairs(data.train) == [(number, number % 3) for number in range(9)]
    assert pairs(data.val) == [(number, number % 3) for number in range(60, 66)]
    assert (data.split, data.ignored) == (f"files train and {name}", ("files unsupervised",))
    write(tmp_path / f"data/{name}-00000-of-00001.parquet", range(60, 62))
    with pytest.raises(ReproError, match=r"different classes \(only in train: mole\)"):
        open_dataset(tmp_path)
    (tmp_path / f"data/{name}-00000-of-00001.parquet").unlink()
    with pytest.raises(ReproError, match="holds the subsets 'train', 'unsupervised'; keep the files of one"):
        open_dataset(tmp_path)


def test_other_names_and_types_of_columns(tmp_path: Path) -> None:
    """CIFAR-100's two labels, plain binary, text, and numbers without metadata; a class without images is left out."""
    pictures = [image(number) for number in range(12)]
    fine, coarse = ({"names": list(names), "_type": "ClassLabel"} for names in ("dcba", "xyz"))
    labels = [number % 3 for number in range(12)]
    columns = {"img": (IMAGE, pictures), "fine_label": (pa.int64(), labels), "coarse_label": (pa.int64(), labels)}
    features = {"img": {"_type": "Image"}, "fine_label": fine, "coarse_label": coarse}
    path = write(tmp_path / "train.parquet", range(0), columns=columns, features=features)
    data = open_dataset(path)
    assert (data.classes, every_image(data)) == (("d", "c", "b"), [(number, number % 3) for number in range(12)])
    for kind, values, classes in (
        (pa.string(), ["10", "9", "2"], ("2", "9", "10")),
        (pa.int32(), [10, 9, 2], ("2", "9", "10")),
        (pa.string(), ["z", "a", "m"], ("a", "m", "z")),
    ):
        columns = {
            "picture": (pa.large_binary(), [picture["bytes"] for picture in pictures]),
            "label": (kind, [values[label] for label in labels]),
        }
        data = open_dataset(write(path, range(0), columns=columns, features=None))
        assert data.classes == classes
        assert every_image(data) == [(n, classes.index(str(values[n % 3]))) for n in range(12)]


def test_a_copy_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed file is copied again, and so is one whose copy or index is damaged."""
    opened: list[str] = []
    original = parquet_module._copy

    def counted(file: Path, images: Path, index: Path) -> None:
        opened.append(file.name)
        original(file, images, index)

    monkeypatch.setattr(parquet_module, "_copy", counted)
    path = write(tmp_path / "train.parquet", range(18))
    digest = open_dataset(path).digest
    assert (open_dataset(path).digest, len(opened)) == (digest, 1)
    write(path, range(30, 54))
    assert every_image(open_dataset(path)) == [(number, number % 3) for number in range(30, 54)]
    assert len(opened) == 2
    for count, suffix in enumerate((".images", ".json"), 3):
        for file in user_cache("parquet").glob(f"*{suffix}"):
            file.write_bytes(b"[1, 2]")
        assert len(every_image(open_dataset(path))) == 24
        assert len(opened) == count
    data = open_dataset(path)
    assert len(list(user_cache("parquet").iterdir())) == 3  # images, index and lock
    for file in user_cache("parquet").iterdir():
        file.unlink()
    with pytest.raises(
        ReproError, match=r"\.images is missing; give the copy of a Parquet file's images, which the next"
    ):
        data.train.image(0)
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/none")
    with pytest.raises(ReproError, match=r"cannot write /proc/none/repro/parquet: .*; set XDG_CACHE_HOME to another"):
        open_dataset(path)


def start_copy(folder: Path, seconds: float) -> subprocess.Popen[str]:
    """Start a process that opens FOLDER/train.parquet, adds a line to FOLDER/copies if it copies, and first waits."""
    command = [sys.executable, "-m", "parity_tests.programs.slow_copy", str(seconds)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)


def test_of_processes_that_start_at_once_one_copies(tmp_path: Path) -> None:
    path = write(tmp_path / "train.parquet", range(18))
    processes = [start_copy(tmp_path, 2) for _ in range(3)]
    digests = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len((tmp_path / "copies").read_text().split()) == 1
    assert digests == [open_dataset(path).digest] * 3


def test_a_process_that_is_killed_while_it_copies_lets_the_others_copy(tmp_path: Path) -> None:
    path = write(tmp_path / "train.parquet", range(18))
    killed = start_copy(tmp_path, 60)
    deadline = time.monotonic() + 30
    while not (tmp_path / "copies").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    waiting = start_copy(tmp_path, 0)
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.communicate(timeout=2)
    killed.kill()
    assert waiting.communicate(timeout=30)[0].strip() == open_dataset(path).digest
    killed.communicate()
    assert (tmp_path / "copies").read_text().split() == [str(killed.pid), str(waiting.pid)]


def test_without_locks_every_process_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    assert len(every_image(open_dataset(write(tmp_path / "train.parquet", range(18))))) == 18


def test_processes_read_the_same_batches(tmp_path: Path) -> None:
    data, transform = open_dataset(write(tmp_path / "train.parquet", range(30))), Transform(image_size=8)

    def batches(workers: int) -> list[np.ndarray]:
        with Loader(data, batch_size=8, workers=workers) as loader:
            return [images for images, _ in loader.train(0, transform)]

    assert all(map(np.array_equal, batches(0), batches(1)))


def bad(name: str) -> dict[str, Any]:
    """Return the arguments of `write` for a file that is refused."""
    pictures: list[Any] = [image(number) for number in range(4)]
    labels: list[Any] = [0, 1, 2, 0]
    features: dict[str, Any] = FEATURES
    if name == "null label":
        labels[2] = None
    elif name in ("label 3", "label -1"):
        labels[2] = int(name.split()[1])
    elif name == "null image":
        pictures[1] = None
    elif name == "path only":
        pictures[1] = {"bytes": None, "path": "/etc/passwd"}
    elif name == "twice":
        features = {**FEATURES, "label": {"names": ["a", "a", "b"], "_type": "ClassLabel"}}
    elif name == "odd name":
        features = {**FEATURES, "label": {"names": ["a\n", "c", "b"], "_type": "ClassLabel"}}
    elif name == "one class":
        labels = [1] * 4
    columns: dict[str, Any] = {"image": (IMAGE, pictures), "label": (pa.int64(), labels)}
    if name == "no rows":
        columns = {key: (kind, []) for key, (kind, _) in columns.items()}
    elif name in ("no image", "no label"):
        del columns[name.split()[1]]
        features = {}
    elif name == "two images":
        columns["mask"] = columns["image"]
        features = {**FEATURES, "mask": {"_type": "Image"}}
    elif name == "image of text":
        columns["image"] = (pa.string(), ["a"] * 4)
    elif name == "bomb":
        columns["image"] = (pa.binary(), [bytes(2**22)] * 4)
    return {"columns": columns, "features": features}


MESSAGES = {
    "null label": "row 2 has the label None, which is not one of the 3 classes",
    "label 3": "row 2 has the label 3, which is not one of the 3 classes",
    "label -1": "row 2 has the label -1, which is not one of the 3 classes",
    "null image": "row 1 holds no bytes of an image",
    "path only": "row 1 holds no bytes of an image",
    "twice": "not a list of different names",
    "odd name": "it has the class",
    "one class": "only one class",
    "no rows": "it has no rows",
    "no image": r"no single column of images and no single one of labels among label \(int64\)",
    "no label": r"no single column of images .* among image \(struct<bytes: binary, path: string>\)",
    "two images": r"no single column of images .* among image .*, label .*, mask",
    "image of text": r"no single column of images .* among image \(string\)",
    "bomb": "4,194,304 bytes, more than such a file holds",
}


@pytest.mark.parametrize("name", MESSAGES)
def test_bad_contents_are_refused(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "train.parquet", range(4), **bad(name), compression="zstd")
    with pytest.raises(ReproError, match=MESSAGES[name]) as error:
        open_dataset(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)
    assert not list(user_cache("parquet").glob(".*"))  # no partial copies


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "train.parquet", range(30))
    whole = path.read_bytes()
    for length in (0, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ReproError, match=r"cannot read .*train\.parquet as a Parquet file with") as error:
            open_dataset(path)
        assert "\n" not in str(error.value)
    with pytest.raises(ReproError, match=r"none\.parquet is missing; give a Parquet file"):
        open_dataset(tmp_path / "none.parquet")


@pytest.mark.slow
def test_changed_bytes_give_images_or_one_line_of_error(tmp_path: Path) -> None:
    """Arrow's reader aborts at some of them (four of 1,500 changes of one byte), which must not end this process."""
    path = write(tmp_path / "train.parquet", range(30))
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(25):
        content = bytearray(whole)
        for place in rng.integers(len(whole) - 900, len(whole), 3):
            content[place] = rng.integers(256)
        path.write_bytes(content)
        try:
            open_dataset(path)
        except ReproError as error:
            errors.append(str(error))
    assert len(errors) > 5
    assert not any("\n" in error or "Traceback" in error for error in errors)


def test_a_reader_that_dies_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "train.parquet", range(9))
    interpreter = tmp_path / "python"
    interpreter.write_text("#!/bin/sh\nkill -ABRT $$\n")
    interpreter.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(interpreter))
    with pytest.raises(ReproError, match="its reader ended with SIGABRT; the file is probably damaged"):
        open_dataset(path)
    assert [path.suffix for path in user_cache("parquet").iterdir()] == [".lock"]


def test_large_row_groups_and_a_missing_pyarrow_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "train.parquet", range(9))
    files = path, tmp_path / "images", tmp_path / "index"
    monkeypatch.setattr(parquet_copy, "LARGEST_GROUP", 100)
    with pytest.raises(ReproError, match="row group 0 has more than 100 bytes; write smaller row groups"):
        parquet_copy.copy_images(*files)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        ReproError, match=r"train\.parquet needs the package pyarrow .*; pip install -e '\.\[parquet\]'"
    ):
        parquet_copy.copy_images(*files)
