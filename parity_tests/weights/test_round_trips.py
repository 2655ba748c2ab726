"""Round trips between the file formats, for one variant of each family.

`python -m parity_tests.support.round_trips` makes those of all variants.
"""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from parity_tests.support import round_trips
from parity_tests.support.round_trips import EXPONENTS, draw, formats, main
from parity_tests.support.sizes import slow_if_large
from repro.specs import CATALOGUE, find_spec, vgg
from repro.weights import porting

MODELS = [
    "asymmnet_small_x0_35", "densenet121", "efficientnet_v2_b0", "mobilenet_v2_x0_35", "mobilenet_v3_small_x0_35",
    "rdnet_tiny", "resnet50", "resnet110_cifar", "resnet50_v2_keras", "shufflenet_v1_g1_x0_25", "shufflenet_v2_x0_5",
    "vgg16",
]  # fmt: skip
# large variants in one dtype only, because the encoding of a dtype does not depend on the family
CASES = [
    pytest.param(model, dtype, marks=slow_if_large(model))
    for model in MODELS
    for dtype in EXPONENTS
    if dtype == "float16" or find_spec(model).params < 1e7
]


def test_every_family_is_covered() -> None:
    assert {find_spec(model).family for model in MODELS} == {find_spec(model).family for model in CATALOGUE}


@pytest.mark.parametrize(("model", "dtype"), CASES)
def test_round_trips_are_bit_identical(model: str, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vgg, "HIDDEN", 16)  # VGG would otherwise have half a gigabyte
    outcome = round_trips.round_trips(model, dtype, tmp_path)
    assert outcome.differences == []
    assert outcome.trips == len(formats(find_spec(model), dtype)) ** 2
    assert not list(tmp_path.iterdir())


def test_keras_files_are_made_where_they_can_be() -> None:
    frameworks = ["safetensors", "torch", "paddle", "mindspore"]
    assert formats(find_spec("resnet50_v2_keras"), "float64") == [*frameworks, "keras"]
    assert formats(find_spec("resnet50_v2_keras"), "bfloat16") == frameworks
    assert formats(find_spec("resnet50_v2"), "float64") == frameworks


@pytest.mark.parametrize("dtype", EXPONENTS)
def test_drawn_values_are_finite_and_include_the_extremes(dtype: str) -> None:
    limits = ml_dtypes.finfo(dtype)
    for array in draw(find_spec("mobilenet_v2_x0_35"), dtype).values():
        assert array.dtype == dtype
        numbers = array.astype("float64").reshape(-1)
        assert np.isfinite(numbers).all()
        assert numbers[0] == 0
        assert np.signbit(numbers[0])
        assert [*numbers[1:3], *numbers[3:5]] == [
            float(limits.max), -float(limits.max), float(limits.smallest_subnormal), -float(limits.smallest_subnormal),
        ]  # fmt: skip
        assert 0 < numbers[5] == -numbers[6] < float(limits.smallest_normal)
        assert len(np.unique(numbers)) > min(array.size, 1000) // 2


def test_a_flipped_bit_is_reported(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The bit is flipped in one array of one format."""
    write = porting.write_file

    def another_bit(path: Path, arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
        if path.suffix == ".ckpt":
            changed = arrays["stem.norm.gamma"].copy()
            changed.view("uint32")[-1] ^= 1
            arrays = arrays | {"stem.norm.gamma": changed}
        write(path, arrays, metadata)

    monkeypatch.setattr(porting, "write_file", another_bit)
    assert main(["--models", "shufflenet_v1_g1_x0_25", "--dtypes", "float32"]) == 1
    output = capsys.readouterr().out
    assert "| shufflenet_v1 | 1 | 246 | 7 of 16 DIFFER |" in output
    assert "float32: canonical -> mindspore -> canonical\n" in output
    assert "float32: mindspore -> paddle -> mindspore\n" in output
    assert "float32: paddle -> mindspore -> paddle\n" in output
    assert "torch -> paddle" not in output
