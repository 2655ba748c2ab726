"""The kind of a weight file, recognised by its first bytes and not by its extension."""

from __future__ import annotations

import re
import struct
import zipfile
from enum import Enum
from pathlib import Path

from repro.errors import ReproError
from repro.untrusted import PARSE_ERRORS, map_file, printable
from repro.weights.torch_legacy import MAGIC


class Content(Enum):
    """The kinds of files that can hold weights."""

    SAFETENSORS = "safetensors"
    KERAS = "keras"
    TORCH = "torch"
    PADDLE = "paddle"
    MINDSPORE = "mindspore"
    NPZ = "npz"
    INDEX = "index of shards"


HEAD_BYTES = 4096
MAX_HEADER_BYTES = 100_000_000  # limit of the safetensors library
PADDLE_KEY = b"StructuredToParameterName@@"  # in a state dict of PaddlePaddle
DOWNLOAD_AGAIN = "download it again, and compare its size with the published one"
MERGED = "whose weights can be merged"
TENSORFLOW = "a file of TensorFlow; load it with Keras, and save the model as .h5 or .keras"
OLD_PICKLE = "a pickle of protocol 0 or 1; save it with protocol 2 or a later one"
# bytes at the beginning -> what the file is
OTHER_KINDS = {
    b"\x1f\x8b": "a gzip file; unpack it, and give the file in it",
    b"BZh": "a bzip2 file; unpack it, and give the file in it",
    b"\xfd7zXZ\0": "an xz file; unpack it, and give the file in it",
    b"\x28\xb5\x2f\xfd": "a Zstandard file; unpack it, and give the file in it",
    b"]\0\0\x80\0": "an LZMA file; unpack it, and give the file in it",
    **dict.fromkeys(
        (b"x\x01", b"x\x5e", b"x\x9c", b"x\xda"),
        "compressed by zlib, as joblib.dump(..., compress=3) writes it; save a dictionary of arrays with numpy.savez",
    ),
    b"7z\xbc\xaf": "a 7-Zip archive; unpack it, and give the file in it",
    b"Rar!": "a RAR archive; unpack it, and give the file in it",
    b"GGUF": "a GGUF file, whose weights are quantised; give the file that it was made from",
    b"\x93NUMPY": "a single NumPy array; save a dictionary of arrays with numpy.savez",
    b"version https://git-lfs": "a git-LFS pointer, not weights; run git lfs pull",
    b"\x08\x01\x12": TENSORFLOW,
    b"(dp": OLD_PICKLE, b"}q\0": OLD_PICKLE, b"ccollections\n": OLD_PICKLE,
}  # fmt: skip
JOBLIB = b"joblib.numpy_pickle"  # the module of the arrays in a file of joblib.dump
TENSORFLOW_INDEX = bytes.fromhex("57fb808b247547db")  # the last bytes of the index of a checkpoint
# a tensor of an inference program: versions and levels of detail, the length of a description, its type
PADDLE_BINARY = re.compile(rb"\0{16}[\x02-\x40]\0\0\0\x08")
# ONNX begins with the version of its format, and then the name of its producer or domain, or the graph
ONNX = re.compile(rb"\x08[\x03-\x20][\x12\x22\x3a]")
WEB_PAGES = (b"<!doctype", b"<html", b"<?xml", b"<head", b"<!--")


def recognise_content(path: Path) -> Content | None:
    """Return the kind of a file, or None for an unknown one.

    Raises ReproError for an empty file, and for one that is known not to hold weights, with what to do about it.
    """
    size = path.stat().st_size
    if not size:
        raise ReproError(f"{path} is empty; {DOWNLOAD_AGAIN}")
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    # first, because the length of the header that a safetensors file begins with can look like any other kind
    if size > 8 and head[8:9] == b"{" and struct.unpack_from("<Q", head)[0] <= MAX_HEADER_BYTES:
        return Content.SAFETENSORS
    _refuse_other_kinds(path, head)
    content = None
    if head.startswith(b"PK\3\4"):
        content = _zip_content(path)
    elif head.startswith(b"\x89HDF\r\n\x1a\n"):
        content = Content.KERAS
    elif head.startswith(MAGIC) or head[257:262] == b"ustar":  # PyTorch's format of 2016 is a tar archive
        content = Content.TORCH
    elif head[:1] == b"\x80":  # a pickle
        content = Content.PADDLE if path.suffix in (".pdparams", ".pdopt") or _has_paddle_key(path) else Content.TORCH
    elif _is_mindspore(head):
        content = Content.MINDSPORE
    return content or _text_content(path, head)


def _refuse_other_kinds(path: Path, head: bytes) -> None:
    """Raise ReproError for a file that is known by its first or last bytes not to hold weights that can be read."""
    for start, kind in OTHER_KINDS.items():
        if head.startswith(start):
            raise ReproError(f"{path} is {kind}")
    if ONNX.match(head) or head[4:8] == b"TFL3":
        graph = "an ONNX" if ONNX.match(head) else "a TensorFlow Lite"
        raise ReproError(f"{path} is {graph} graph, {MERGED}; give the file that it was made from")
    if head[:1] == b"\n" and head[2:3].isdigit() and b"MindSpore" in head[:64]:
        advice = "save the parameters of the network with mindspore.save_checkpoint"
        raise ReproError(f"{path} is a MindIR graph, {MERGED}; {advice}")
    if PADDLE_BINARY.match(head):
        advice = "save the state dict of the network with paddle.save(layer.state_dict(), 'new.pdparams')"
        raise ReproError(f"{path} is a binary file of PaddlePaddle (.pdiparams), which has no names; {advice}")
    if _ends_with(path, TENSORFLOW_INDEX):
        raise ReproError(f"{path} is {TENSORFLOW}")
    if head[:1] == b"\x80" and JOBLIB in head:
        raise ReproError(f"{path} is a file of joblib; save its dictionary of arrays with numpy.savez")


def _zip_content(path: Path) -> Content:
    """Return the kind of a zip archive. Raises ReproError for one that is cut short, or holds something else."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except PARSE_ERRORS:
        raise ReproError(f"{path} is a zip archive that is cut short or damaged; {DOWNLOAD_AGAIN}") from None
    files = {name.rpartition("/")[2] for name in names}
    if "data.pkl" in files:
        return Content.TORCH
    if files & {"model.weights.h5", "config.json"}:
        return Content.KERAS
    if names and all(name.endswith(".npy") for name in names):
        return Content.NPZ
    if files & {"archive_format", "serialized_exported_program.json"}:
        raise ReproError(
            f"{path} is an archive of torch.export; save its state dict with "
            "torch.save(torch.export.load(path).state_dict, 'new.pth')"
        )
    if files == {"version", "byteorder", "serialization_id"}:
        raise ReproError(f"{path} is a file of torch.save that ended with an error; save it again, as a state dict")
    if any("/.data/" in name for name in names):
        raise ReproError(f"{path} is an archive of torch.package; save the state dict of the module in it")
    listing = printable(", ".join(names[:3]))
    raise ReproError(f"{path} is a zip archive of other files ({listing}, ...); unpack it, and give the file in it")


def _ends_with(path: Path, ending: bytes) -> bool:
    """Return whether a file, which is not empty, ends with these bytes."""
    with path.open("rb") as file:
        file.seek(-min(len(ending), path.stat().st_size), 2)
        return file.read() == ending


def _has_paddle_key(path: Path) -> bool:
    """Return whether a pickle is a state dict of PaddlePaddle."""
    data = map_file(path)
    try:
        return data.obj.find(PADDLE_KEY) >= 0  # type: ignore[attr-defined]
    finally:
        data.release()


def _is_mindspore(head: bytes) -> bool:
    """Return whether a file begins with field 1 of a Protocol Buffers message, which itself begins with a field 1."""
    length_bytes = next((at for at in range(1, 11) if at < len(head) and head[at] < 128), 0)
    return head[:1] == b"\n" and length_bytes > 0 and head[length_bytes + 1 : length_bytes + 2] == b"\n"


def _text_content(path: Path, head: bytes) -> Content | None:
    """Return the kind of a text file, or None where it is not text. Raises ReproError for text without weights."""
    try:
        text = head.decode("utf-8", "strict" if len(head) < HEAD_BYTES else "ignore").strip()
    except UnicodeDecodeError:
        return None
    if not all(letter.isprintable() or letter.isspace() for letter in text):
        return None
    if text.startswith("<?xml") and "<net " in text:
        raise ReproError(
            f"{path} is an OpenVINO graph, whose weights can be merged; give the file that it was made from"
        )
    if text.lower().encode().startswith(WEB_PAGES):
        raise ReproError(
            f"{path} is a web page, not weights: the download was redirected; open the address in a browser, and save "
            "the file that it leads to"
        )
    if text.startswith(("{", "[")):
        if path.name.endswith(".weights.json"):
            raise ReproError(f"{path} is an index of Keras; save the model without max_shard_size, as .h5 or .keras")
        if '"weight_map"' in text or path.name.endswith(".index.json"):
            return Content.INDEX
        raise ReproError(f"{path} is JSON, not weights; give the weight file that belongs to it")
    raise ReproError(f"{path} is text, not weights; it begins with {printable(text[:60])!r}")
