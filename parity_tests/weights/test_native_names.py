"""Canonical weights: initialisation, strict checks, native names, depthwise matrices, and files written whole."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from repro.errors import ReproError
from repro.files import replacing, write_text
from repro.interface.depthwise import placement
from repro.interface.discovery import SHIPPED, native_weights
from repro.specs import Weight, find_spec
from repro.weights import safetensors_file
from repro.weights.init import initialise, random_weights
from repro.weights.strict import check_weights

SPEC = find_spec("asymmnet_small", num_classes=10)


def test_initialisation_is_seeded_per_name() -> None:
    first, again, other = initialise(SPEC, 0), initialise(SPEC, 0), initialise(SPEC, 1)
    wider = initialise(find_spec("asymmnet_small", num_classes=7), 0)
    assert list(first) == list(SPEC.weights)
    for name, weight in SPEC.weights.items():
        assert first[name].shape == weight.shape
        assert first[name].dtype == np.float32
        assert np.array_equal(first[name], again[name])
        if weight.kind in ("conv", "linear"):
            assert not np.array_equal(first[name], other[name])
        if not name.startswith("classifier"):
            assert np.array_equal(first[name], wider[name])


def test_msra_prelu_has_its_standard_deviation() -> None:
    """It is sqrt(2 / (1 + 0.25^2) / mean of fan in and fan out)."""
    arrays = initialise(SPEC, 0)
    hidden = arrays["hidden.weight"]  # (1280, 576, 1, 1)
    assert hidden.std() == pytest.approx(math.sqrt(2 / 1.0625 / ((1280 + 576) / 2)), rel=0.01)
    assert abs(hidden.mean()) < 1e-3
    deep = arrays["stages.3.2.depthwise.conv.weight"]  # fans 25 and 768 * 25
    assert deep.std() == pytest.approx(math.sqrt(2 / 1.0625 / ((1 + deep.shape[0]) * 25 / 2)), rel=0.03)
    assert set(np.unique(arrays["stem.norm.weight"])) == {1}
    assert not arrays["classifier.bias"].any()


def test_kaiming_fan_out_has_its_standard_deviation() -> None:
    arrays = initialise(find_spec("mobilenet_v3_small"), 0)
    assert arrays["last.conv.weight"].std() == pytest.approx(math.sqrt(2 / 576), rel=0.01)
    assert arrays["classifier.weight"].std() == pytest.approx(0.01, rel=0.01)


def test_random_weights_hide_no_mistake() -> None:
    for name, array in random_weights(SPEC, 0).items():
        assert len(np.unique(array)) > 0.99 * array.size, name
        if SPEC.weights[name].kind == "norm_var":
            assert array.min() > 0


def test_negative_seed() -> None:
    with pytest.raises(ReproError, match="seed must be at least 0"):
        initialise(SPEC, -1)


def test_check_weights_lists_every_mismatch() -> None:
    arrays = initialise(SPEC, 0)
    arrays["stem.norm.scale"] = arrays.pop("stem.norm.weight")
    arrays["classifier.weight"] = arrays["classifier.weight"][:9]
    arrays["hidden.weight"] = arrays["hidden.weight"].astype(np.int32)
    with pytest.raises(ReproError) as caught:
        check_weights(arrays, SPEC)
    text = str(caught.value)
    assert "stem.norm.weight is missing (did you mean stem.norm.scale?)" in text
    assert "stem.norm.scale is unexpected" in text
    assert "classifier.weight has shape (9, 1280) instead of (10, 1280)" in text
    assert "hidden.weight holds int32" in text
    assert "\n" not in text


@pytest.mark.parametrize("backend", SHIPPED)
def test_native_names_go_both_ways(backend: str) -> None:
    names = native_weights(backend).NAMES
    arrays = random_weights(SPEC, 0)
    native = names.to_native(arrays, SPEC.weights)
    assert len(native) == len(arrays)
    back = names.to_canonical(native, SPEC.weights)
    assert set(back) == set(arrays)
    assert all(np.array_equal(back[name], arrays[name]) for name in arrays)


def test_square_linear_weight_is_transposed_by_its_kind() -> None:
    """Its shape does not show whether it is transposed."""
    weights = {"a.weight": Weight((5, 5), "linear"), "b.weight": Weight((5, 5, 1, 1), "conv")}
    rng = np.random.default_rng(0)
    arrays = {"a.weight": rng.random((5, 5)), "b.weight": rng.random((5, 5, 1, 1))}
    for backend, turned in (("torch", False), ("paddle", True), ("mindspore", False)):
        native = native_weights(backend).NAMES.to_native(arrays, weights)
        assert np.array_equal(native["a.weight"], arrays["a.weight"].T if turned else arrays["a.weight"])
        assert np.array_equal(native["b.weight"], arrays["b.weight"])


@pytest.mark.parametrize(("height", "width", "kernel", "stride"),
                         [(1, 1, 5, 1), (2, 2, 3, 2), (5, 4, 3, 1), (4, 7, 5, 2), (8, 8, 3, 2)])  # fmt: skip
def test_placement_is_a_convolution(height: int, width: int, kernel: int, stride: int) -> None:
    rng = np.random.default_rng(0)
    x, weight, padding = rng.random((height, width)), rng.random((kernel, kernel)), kernel // 2
    padded = np.pad(x, padding)
    expected = np.array([
        [(padded[y : y + kernel, z : z + kernel] * weight).sum() for z in range(0, width, stride)]
        for y in range(0, height, stride)
    ])  # fmt: skip
    matrix = (weight.ravel() @ placement(height, width, kernel, stride)).reshape(height * width, -1)
    np.testing.assert_allclose((x.ravel() @ matrix).reshape(expected.shape), expected, rtol=1e-12)


def test_safetensors_round_trip(tmp_path: Path) -> None:
    arrays: dict[str, np.ndarray] = {
        "a": np.arange(6, dtype=np.float16).reshape(2, 3).T,
        "b": np.array(3.5),
        "c": np.zeros((0, 2), np.int64),
    }
    safetensors_file.save(tmp_path / "x.safetensors", arrays, {"model": "m"})
    back, metadata = safetensors_file.load(tmp_path / "x.safetensors")
    assert metadata == {"model": "m"}
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        assert np.array_equal(back[name], array)
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


def test_broken_safetensors_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    safetensors_file.save(path, {"a": np.ones(1000, np.float32)})
    intact = path.read_bytes()
    for content in (b"", intact[:4], intact[:50], intact[:-1], b"\xff" * 100, intact + b"more"):
        path.write_bytes(content)
        with pytest.raises(ReproError, match="not a complete safetensors file"):
            safetensors_file.load(path)
    with pytest.raises(ReproError, match="no such file"):
        safetensors_file.load(tmp_path / "nothing")


def test_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    write_text(path, "old")

    def interrupted(problem: BaseException) -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise problem

    with pytest.raises(ReproError, match=r"cannot write .*x.txt: No space left on device"):
        interrupted(OSError(28, "No space left on device"))
    with pytest.raises(KeyboardInterrupt):
        interrupted(KeyboardInterrupt())
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.txt"]


def test_written_files_have_the_usual_permissions(tmp_path: Path) -> None:
    write_text(tmp_path / "text", "")
    safetensors_file.save(tmp_path / "weights", {"a": np.ones(1)})
    (tmp_path / "usual").write_text("")
    assert len({path.stat().st_mode for path in tmp_path.iterdir()}) == 1


def test_path_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ReproError, match=r"cannot write .*missing"):
        write_text(tmp_path / "missing" / "x", "")
    with pytest.raises(ReproError, match="is a folder"):
        write_text(tmp_path, "")
