"""Copying of the images in an untrusted Parquet file, in a process of its own: damage can abort Arrow's reader.

The process is started by repro.data.parquet as `python -m repro.data.parquet_copy FILE IMAGES INDEX`.
"""

from __future__ import annotations

import json
import resource
import sys
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from repro.data.shards import LONGEST_LABEL
from repro.data.tar import LARGEST
from repro.errors import ReproError
from repro.untrusted import printable, reading

WHAT = "a Parquet file with a column of images and one of labels"
MEMORY = 2**33  # bytes of addresses that the process may use, whatever sizes the file declares
LABELS = ("label", "fine_label")  # the first of these, where several columns could be the label
ROWS = 16  # read at once
LARGEST_GROUP = 2**31  # bytes of a column in a row group, a page of which Arrow reads whole
LARGEST_EXPANSION = 20  # images are compressed already: a file that holds much more than its own size is a bomb


def copy_images(file: Path, images: Path, index: Path) -> None:
    """Write the bytes of all images to `images`, and their sizes, their labels and the declared classes to `index`.

    Raises ReproError for a damaged file, other columns, and a row without image or label.
    """
    with reading(file, WHAT):
        opened, columns, classes = _open(file)
    sizes, labels = array("q"), []
    with images.open("wb") as out:
        for content, label in _rows(file, opened, columns, classes):
            out.write(content)
            sizes.append(len(content))
            labels.append(label)
    index.write_text(json.dumps([sizes.tolist(), labels, classes]))


def _open(file: Path) -> tuple[Any, tuple[str, str], list[str]]:
    """Return the open file, the names of its columns of images and of labels, and its declared classes.

    Raises ValueError for other columns, and for a row group whose declared size is larger than LARGEST_GROUP.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ReproError(
            f"{file} needs the package pyarrow ({error}); pip install -e '.[parquet]' in repro's folder"
        ) from error
    opened = parquet.ParquetFile(file, buffer_size=2**20, pre_buffer=False)
    for group in range(opened.metadata.num_row_groups):
        for column in range(opened.metadata.num_columns):
            if opened.metadata.row_group(group).column(column).total_uncompressed_size > LARGEST_GROUP:
                raise ValueError(f"row group {group} has more than {LARGEST_GROUP:,} bytes; write smaller row groups")
    schema = opened.schema_arrow
    features = _features((schema.metadata or {}).get(b"huggingface", b"{}"))
    images = [field.name for field in schema if features.get(field.name, {}).get("_type") == "Image"]
    labels = [field.name for field in schema if features.get(field.name, {}).get("_type") == "ClassLabel"]
    types = pyarrow.types
    images = images or [field.name for field in schema if _has_bytes(types, field.type)]
    labels = labels or [
        field.name
        for field in schema
        if field.name in LABELS and (types.is_integer(field.type) or types.is_string(field.type))
    ]
    labels = next(([name] for name in LABELS if name in labels), labels)
    if len(images) != 1 or len(labels) != 1 or not _has_bytes(types, schema.field(images[0]).type):
        names = ", ".join(printable(f"{field.name} ({field.type})") for field in schema)
        raise ValueError(f"it has no single column of images and no single one of labels among {names}")
    return opened, (images[0], labels[0]), _classes(features.get(labels[0], {}).get("names"))


def _features(metadata: bytes) -> dict[str, dict[str, Any]]:
    """Return column -> its description by `datasets`. Raises ValueError for other metadata."""
    features = json.loads(metadata)
    for key in ("info", "features"):
        features = features.get(key, {}) if isinstance(features, dict) else {}
    if not isinstance(features, dict):
        raise ValueError("its metadata of `datasets` does not describe columns")
    return {name: feature for name, feature in features.items() if isinstance(feature, dict)}


def _classes(names: object) -> list[str]:
    """Return the names of a ClassLabel, or [] where there are none. Raises ValueError for other names."""
    if names is None:
        return []
    if not isinstance(names, list) or len(set(map(str, names))) != len(names):
        raise ValueError("the names of its ClassLabel are not a list of different names")
    return [_name(name) for name in names]


def _has_bytes(types: Any, column: Any) -> bool:
    """Return whether a column is binary, or a struct with binary `bytes`."""
    if types.is_struct(column):
        return column.get_field_index("bytes") >= 0 and _has_bytes(types, column.field("bytes").type)
    return types.is_binary(column) or types.is_large_binary(column)


def _rows(file: Path, opened: Any, columns: tuple[str, str], classes: list[str]) -> Iterator[tuple[bytes, str]]:
    """Yield the bytes of each image, and its class. Raises ReproError for a row without them, and for no rows."""
    number, left = 0, LARGEST_EXPANSION * file.stat().st_size
    with reading(file, WHAT):
        for batch in opened.iter_batches(ROWS, columns=columns, use_threads=False):
            for image, label in zip(*(batch.column(name) for name in columns), strict=True):
                content = image.as_py()
                content = content.get("bytes") if isinstance(content, dict) else content
                if not isinstance(content, bytes):
                    raise ValueError(f"row {number} holds no bytes of an image; write it with embedded files")
                left -= len(content)
                if len(content) > LARGEST or left < 0:
                    raise ValueError(f"row {number} has {len(content):,} bytes, more than such a file holds")
                yield content, _label(label.as_py(), classes, number)
                number += 1
        if not number:
            raise ValueError("it has no rows")


def _label(value: object, classes: list[str], number: int) -> str:
    """Return the class of a row. Raises ValueError for a missing label, and for one that is not a class."""
    if classes and isinstance(value, int) and 0 <= value < len(classes):
        return classes[value]
    if value is None or classes:
        raise ValueError(f"row {number} has the label {value}, which is not one of the {len(classes)} classes")
    return _name(value)


def _name(value: object) -> str:
    """Return a class as text. Raises ValueError for one that is empty, too long or not printable."""
    name = str(value)
    if not name.isprintable() or not 0 < len(name) <= LONGEST_LABEL:
        raise ValueError(f"it has the class {name[:40]!r}")
    return name


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        copy_images(*map(Path, sys.argv[1:]))
    except (ReproError, OSError) as error:
        sys.exit(str(error))
