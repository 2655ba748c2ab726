"""PyTorch's format from before 1.6: equal to what torch.load returns, and no harm from hostile files."""

from __future__ import annotations

import io
import pickle
import re
import struct
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from parity_tests.conftest import RunProgram
from parity_tests.support.native_samples import FOUR
from repro import port
from repro.errors import ReproError
from repro.interface.discovery import native_weights
from repro.weights import safetensors_file
from repro.weights.porting import read_weights
from repro.weights.torch_legacy import MAGIC
from repro.workers.client import Worker

SYSTEM = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
STORAGE = struct.pack("<q", 4) + FOUR


def plain(value: object) -> bytes:
    return pickle.dumps(value, 2)[2:-1]


def tensor_program(
    count: int = 4, view: tuple | None = None, offset: int = 0, shape: tuple = (2, 2), kind: bytes = b"FloatStorage"
) -> bytes:
    """The pickle of {"w": tensor} whose storage has the key "k"."""
    reference = b"(" + plain("storage") + b"ctorch\n" + kind + b"\n" + plain("k") + plain("cpu") + plain(count)
    strides = (shape[1], 1) if len(shape) == 2 else (1,)
    arguments = reference + plain(view) + b"tQ" + plain(offset) + plain(shape) + plain(strides)
    return b"\x80\x02}" + plain("w") + b"ctorch._utils\n_rebuild_tensor\n(" + arguments + b"tRs."


def legacy_file(
    program: bytes, storages: bytes = STORAGE, *, keys: object = ("k",), system: object = None, protocol: int = 1001
) -> bytes:
    keys = list(keys) if isinstance(keys, tuple) else keys
    pickles = [pickle.dumps(value, 2) for value in (protocol, SYSTEM if system is None else system)]
    return MAGIC + b"".join(pickles) + program + pickle.dumps(keys, 2) + storages


def read(path: Path) -> dict[str, np.ndarray]:
    return native_weights("torch").read(path)


def assert_same_bits(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        assert (actual[name].dtype, actual[name].shape) == (array.dtype, array.shape), name
        assert actual[name].tobytes() == array.tobytes(), name
        assert not actual[name].flags.writeable


@pytest.fixture
def require_torch(require_backend: Callable[[str], None]) -> None:
    require_backend("torch")


def test_every_kind_of_tensor(require_torch: None, run_program: RunProgram, tmp_path: Path) -> None:
    path, expected = tmp_path / "old.pth", tmp_path / "expected.safetensors"
    run_program("torch", "torch_legacy:save_checkpoint", str(path))
    run_program("torch", "torch_legacy:load", str(path), str(expected))
    assert not path.read_bytes().startswith(b"PK")
    actual = read(path)
    assert_same_bits(actual, safetensors_file.load(expected)[0])
    assert {"turned", "row", "parameter", "bfloat16", "model/1.num_batches_tracked"} <= actual.keys()
    assert np.shares_memory(actual["turned"], actual["row"])


def assert_published(path: Path, run_program: RunProgram, tmp_path: Path, count: int) -> None:
    expected = tmp_path / "expected.safetensors"
    run_program("torch", "torch_legacy:load", str(path), str(expected))
    arrays = read(path)
    assert len(arrays) == count
    assert_same_bits(arrays, safetensors_file.load(expected)[0])


def test_the_published_efficientnet_lite0(
    require_torch: None,
    lite0_file: Path,
    run_program: RunProgram,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is a network that is not here: all of it can be inspected, and porting says in one line that nothing fits."""
    assert_published(lite0_file, run_program, tmp_path, 296)
    assert port.main([str(lite0_file), "--inspect"]) == 0
    *lines, totals = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(read(lite0_file))
    assert re.match(r"_fc\.weight +\(1000, 1280\) +float32 ", lines[-2])
    assert totals == "296 arrays, 4,694,073 values"
    with pytest.raises(ReproError, match=r"its arrays fit no variant entirely; add --model NAME$"):
        port.main([str(lite0_file), str(tmp_path / "out.safetensors")])
    assert not (tmp_path / "out.safetensors").exists()


def test_the_published_mobilenet_v2(
    require_torch: None, mobilenet_file: Path, run_program: RunProgram, tmp_path: Path
) -> None:
    assert_published(mobilenet_file, run_program, tmp_path, 314)


def test_a_good_file_and_views_of_a_storage(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(legacy_file(tensor_program()))
    assert read(path)["w"].tolist() == [[1, 2], [3, 4]]
    path.write_bytes(legacy_file(tensor_program(view=("v", 1, 3), offset=1, shape=(2,))))
    assert read(path)["w"].tolist() == [3, 4]


HOSTILE = {
    "code": (
        legacy_file(b"\x80\x02}" + plain("w") + b"cos\nsystem\n" + plain(("touch PWNED",)) + b"Rs."),
        "does not fit its tensors",
    ),
    "code before the object": (MAGIC + b"\x80\x02cos\nsystem\n(X\x01\x00\x00\x00atR.", "protocol number"),
    "big-endian": (legacy_file(tensor_program(), system=SYSTEM | {"little_endian": False}), "big-endian machine"),
    "no system": (legacy_file(tensor_program(), system=[]), "big-endian machine"),
    "another protocol": (legacy_file(tensor_program(), protocol=1002), "protocol number"),
    "view beyond the storage": (legacy_file(tensor_program(view=("v", 2, 3))), "larger than that"),
    "view of the wrong kind": (legacy_file(tensor_program(view=("v", -1, 3))), "something else|sizes"),
    "view that is short": (legacy_file(tensor_program(view=("v", 1))), "is not a key, an offset and a size"),
    "tensor beyond the storage": (legacy_file(tensor_program(shape=(3, 2))), "is larger than its storage"),
    "huge storage": (legacy_file(tensor_program(2**61), struct.pack("<q", 2**61) + FOUR), "is cut short"),
    "negative storage": (legacy_file(tensor_program(-4), struct.pack("<q", -4) + FOUR), "sizes"),
    "another size": (legacy_file(tensor_program(3)), "has 4 elements, but its tensors claim 3"),
    "unknown type": (legacy_file(tensor_program(kind=b"ComplexFloatStorage")), r"convert the model with \.float\(\)"),
    "no storage": (legacy_file(tensor_program(), keys=()), "does not fit its tensors"),
    "a storage twice": (legacy_file(tensor_program(), STORAGE * 2, keys=("k", "k")), "does not fit its tensors"),
    "keys of the wrong kind": (legacy_file(tensor_program(), keys={"k": 1}), "list of storages is damaged"),
    "a module": (legacy_file(b"\x80\x02" + plain(("module", "a", "b", "c")) + b"Q."), "not a storage"),
    "no arrays": (legacy_file(b"\x80\x02}.", b"", keys=()), "no arrays"),
}


@pytest.mark.parametrize("case", HOSTILE, ids=lambda case: case.replace(" ", "-"))
def test_hostile_files_are_refused(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where the code inside would leave its mark
    content, reason = HOSTILE[case]
    path = tmp_path / "a.pth"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(ReproError, match=reason) as caught:
            read(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10**6
    assert str(path) in str(caught.value) and str(caught.value).isprintable()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
def test_a_file_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    whole, path = legacy_file(tensor_program()), tmp_path / "a.pth"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ReproError):
            read(path)


@pytest.mark.slow
def test_a_changed_byte_is_an_error_or_another_array(tmp_path: Path) -> None:
    whole, path = legacy_file(tensor_program()), tmp_path / "a.pth"
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        try:
            contents = read(path)
        except ReproError:
            continue
        assert sum(array.nbytes for array in contents.values()) <= len(whole)


def test_large_storages_are_not_copied(tmp_path: Path) -> None:
    count, path = 4_000_000, tmp_path / "a.pth"
    content = struct.pack("<q", count) + bytes(4 * count)
    path.write_bytes(legacy_file(tensor_program(count, shape=(count,)), content))
    del content
    tracemalloc.start()
    try:
        assert read(path)["w"].shape == (count,)
        assert tracemalloc.get_traced_memory()[1] < 10**6
    finally:
        tracemalloc.stop()


def test_a_tar_archive_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.pth.tar"
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("sys_info"), io.BytesIO())
    with pytest.raises(ReproError, match="it is a tar archive: unpack it, or, if PyTorch wrote it"):
        read(path)


@pytest.mark.slow
def test_a_published_file_computes_what_its_publisher_computes(
    require_torch: None, mobilenet_file: Path, backend: str, run_program: RunProgram, tmp_path: Path
) -> None:
    """torchvision's MobileNetV2 for ImageNet, as the file is, on every backend against torchvision's own logits."""
    images = np.random.default_rng(0).standard_normal((2, 3, 96, 96), np.float32)
    np.save(tmp_path / "images.npy", images)
    files = [str(mobilenet_file), str(tmp_path / "images.npy"), str(tmp_path / "logits.npy")]
    run_program("torch", "torch_legacy:torchvision_logits", *files)
    spec, weights, _ = read_weights(mobilenet_file, "mobilenet_v2", log=lambda line: None)
    with Worker(backend) as worker:
        worker.request("create_model", weights, name=spec.name, options={})
        _, outputs = worker.request("forward", {"images": images})
    expected = np.load(tmp_path / "logits.npy")
    assert np.abs(outputs["logits"] - expected).max() <= 1e-5 * np.abs(expected).max()
