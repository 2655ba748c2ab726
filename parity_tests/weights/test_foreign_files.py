"""Files and folders of other programs, and arrays that NumPy cannot hold, are named with what to do."""

from __future__ import annotations

import io
import pickle
import re
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from repro.errors import ReproError
from repro.weights.formats import read_file


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("data.pkl", "is an unpacked file of PyTorch; pack it again without compression: zip -0 -r FILE.pth"),
        ("archive/data.pkl", "is an unpacked file of PyTorch; pack it again without compression: zip -0 -r FILE.pth"),
        ("saved_model.pb", "is a SavedModel of TensorFlow; load it with Keras, and save the model as .h5 or .keras"),
    ],
)
def test_a_folder_of_another_kind_is_named(file: str, message: str, tmp_path: Path) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_bytes(b"x")
    with pytest.raises(ReproError, match=re.escape(message)):
        read_file(tmp_path)


def test_the_shards_of_keras_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.weights.json").write_text('{"weight_map": {"/layers/conv2d": "a_00000.weights.h5"}}')
    with pytest.raises(ReproError, match="is an index of Keras; save the model without max_shard_size, as"):
        read_file(tmp_path / "a.weights.json")


def test_a_type_that_safetensors_has_and_numpy_lacks_is_named(tmp_path: Path) -> None:
    header = b'{"w":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}'
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"x")
    with pytest.raises(ReproError, match="holds F8_E4M3 in w; save it again as float32"):
        read_file(tmp_path / "a.safetensors")


def test_the_entries_of_an_npz_file_cannot_share_their_bytes(tmp_path: Path) -> None:
    """Ten thousand entries at the place of one array would otherwise be a hundred times as slow as the file is long."""
    array = io.BytesIO()
    np.save(array, np.zeros(10**6))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for number in range(2000):
            archive.writestr(f"{number}.npy", array.getvalue() if not number else b"")
            archive.filelist[number].header_offset = 0
            archive.filelist[number].file_size = archive.filelist[0].file_size
            archive.filelist[number].CRC = archive.filelist[0].CRC
    start = time.process_time()
    with pytest.raises(ReproError, match="the zip claims to hold more than the file has"):
        read_file(tmp_path / "a.npz")
    assert time.process_time() - start < 5  # seconds of processor time; it takes at most 1


@pytest.mark.parametrize("suffix", [".pdparams", ".pkl"])
def test_a_pickle_cut_short_says_so(suffix: str, tmp_path: Path) -> None:
    content = pickle.dumps({"w": np.ones((40, 40), "float32")}, 4)
    for length in (10, 100, len(content) // 2, len(content) - 1):
        (tmp_path / f"a{suffix}").write_bytes(content[:length])
        with pytest.raises(ReproError, match="it is cut short; download it again, and compare its size"):
            read_file(tmp_path / f"a{suffix}")


def test_an_optimizer_of_paddle_without_its_weights_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.pdopt").write_bytes(pickle.dumps({"x_velocity_0": np.ones(3)}, 4))
    with pytest.raises(ReproError, match=r"its names are in a\.pdparams, which is not next to it"):
        read_file(tmp_path / "a.pdopt")
