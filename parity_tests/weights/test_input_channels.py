"""Weights for images with another number of channels than those that the file was trained on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from repro.errors import ReproError
from repro.port import main
from repro.specs import find_spec
from repro.weights.init import random_weights
from repro.weights.layout_reader import adapt_channels
from repro.weights.porting import read_checkpoint, write_weights

MODEL = "asymmnet_small_x0_35"
SPEC = find_spec(MODEL, num_classes=5)
WEIGHTS = random_weights(SPEC, 1)
CONV = "stem.conv.weight"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_weights(tmp_path / "a.pth", SPEC, WEIGHTS)
    return tmp_path / "a.pth"


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_only_the_first_convolution_changes(channels: int, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    destination = file.with_suffix(".safetensors")
    assert main([str(file), str(destination), "--model", MODEL, "--in-channels", str(channels)]) == 0
    assert ("adapted stem.conv.weight from 3 input channels to" in capsys.readouterr().out) == (channels != 3)
    checkpoint = read_checkpoint(destination, log=str)
    assert checkpoint.spec.in_channels == channels
    assert checkpoint.metadata["in_channels"] == str(channels)
    assert all(np.array_equal(array, WEIGHTS[name]) for name, array in checkpoint.weights.items() if name != CONV)
    assert checkpoint.weights[CONV].shape == (WEIGHTS[CONV].shape[0], channels, 3, 3)


@pytest.mark.parametrize("channels", [1, 2, 4, 6, 7])
def test_values_are_those_of_timm(
    channels: int, run_program: Callable[..., Any], require_backend: Callable[[str], None]
) -> None:  # fmt: skip
    require_backend("torch")
    expected = run_program("torch", "input_channels:adapted_kernel", WEIGHTS[CONV].tolist(), channels)
    np.testing.assert_allclose(adapt_channels(WEIGHTS[CONV], channels), np.array(expected), rtol=1e-6, atol=1e-7)


def test_the_preparation_of_other_images_is_dropped(tmp_path: Path) -> None:
    preparation = {"channels": "3", "mean": "[0.5, 0.5, 0.5]", "std": "[0.5, 0.5, 0.5]", "image_size": "32"}
    write_weights(tmp_path / "a.safetensors", SPEC, WEIGHTS, {"model": MODEL, **preparation})
    assert read_checkpoint(tmp_path / "a.safetensors", log=str).metadata.items() >= preparation.items()
    metadata = read_checkpoint(tmp_path / "a.safetensors", in_channels=1, log=str).metadata
    assert metadata.keys().isdisjoint({"channels", "mean", "std"})
    assert metadata["image_size"] == "32"


def test_kernels_keep_their_type() -> None:
    for dtype in (np.float16, np.float64):
        assert adapt_channels(WEIGHTS[CONV].astype(dtype), 1).dtype == dtype


def test_mistakes(file: Path) -> None:
    with pytest.raises(ReproError, match="in_channels must be"):
        read_checkpoint(file, MODEL, in_channels=0, log=str)
    write_weights(file, SPEC, {name: array for name, array in WEIGHTS.items() if name != CONV})
    with pytest.raises(ReproError, match=r"the file lacks stem\.conv\.weight, so that its input channels cannot be"):
        read_checkpoint(file, MODEL, in_channels=1, partial=True, log=str)
