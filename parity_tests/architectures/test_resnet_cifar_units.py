"""Units of residual networks for CIFAR against Figure 4 of arXiv:1603.05027, computed in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from repro.specs.resnet_cifar import ACTIVATIONS
from repro.weights import safetensors_file

Array = np.ndarray


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


class Unit:
    """The convolutions and normalisations of a basic unit in NumPy."""

    def __init__(self, arrays: dict[str, Array], prefix: str):
        self.arrays, self.prefix = arrays, prefix

    def conv(self, x: Array, index: int, stride: int = 1) -> Array:
        weight = self.arrays[f"{self.prefix}branch.{index}.conv.weight"].astype(np.float64)
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        height, width = x.shape[2:]
        taps = [
            np.einsum(
                "nchw,oc->nohw", padded[:, :, i : i + height : stride, j : j + width : stride], weight[:, :, i, j]
            )
            for i in range(3)
            for j in range(3)
        ]
        return np.sum(taps, axis=0)

    def norm(self, x: Array, name: str) -> Array:
        scale, shift, mean, var = (
            self.arrays[f"{self.prefix}{name}.norm.{leaf}"].astype(np.float64)[:, None, None]
            for leaf in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / np.sqrt(var + 1e-5) * scale + shift


def halved(x: Array) -> Array:
    """The shortcut of a unit that halves the map and doubles the channels, option A."""
    x = x[:, :, ::2, ::2]
    return np.concatenate([x, np.zeros_like(x)], 1)


def original(unit: Unit, x: Array, stride: int, opens_stage: bool) -> Array:  # Figure 4(a)
    y = unit.norm(unit.conv(relu(unit.norm(unit.conv(x, 0, stride), "branch.0")), 1), "branch.1")
    return relu((halved(x) if stride == 2 else x) + y)


def bn_after(unit: Unit, x: Array, stride: int, opens_stage: bool) -> Array:  # (b)
    y = unit.conv(relu(unit.norm(unit.conv(x, 0, stride), "branch.0")), 1)
    return relu(unit.norm((halved(x) if stride == 2 else x) + y, "after"))


def relu_before(unit: Unit, x: Array, stride: int, opens_stage: bool) -> Array:  # (c)
    y = relu(unit.norm(unit.conv(relu(unit.norm(unit.conv(x, 0, stride), "branch.0")), 1), "branch.1"))
    return (halved(x) if stride == 2 else x) + y


def relu_preact(unit: Unit, x: Array, stride: int, opens_stage: bool) -> Array:  # (d)
    a = relu(x)
    y = unit.norm(unit.conv(relu(unit.norm(unit.conv(a, 0, stride), "branch.0")), 1), "branch.1")
    x = a if opens_stage else x
    return (halved(x) if stride == 2 else x) + y


def full_preact(unit: Unit, x: Array, stride: int, opens_stage: bool) -> Array:  # (e)
    a = relu(unit.norm(x, "before"))
    y = unit.conv(relu(unit.norm(unit.conv(a, 0, stride), "branch.0")), 1)
    x = a if opens_stage else x
    return (halved(x) if stride == 2 else x) + y


UNITS = {"original": original, "bn_after": bn_after, "relu_before": relu_before, "relu_preact": relu_preact,
         "full_preact": full_preact}  # fmt: skip
assert set(UNITS) == set(ACTIVATIONS)


@pytest.mark.parametrize("activation", UNITS)
def test_units_follow_figure_4(
    activation: str, run_program: Callable[..., Any], require_backend: Callable[[str], None], tmp_path: Path
) -> None:
    """The output of each unit for its input, in torch's float64 and in NumPy."""
    require_backend("torch")
    path = tmp_path / "stages.safetensors"
    run_program("torch", "resnet_cifar:stages_in_float64", activation, str(path))
    arrays, _ = safetensors_file.load(path)
    x = arrays["stage/stem"]
    assert (x.min() < 0) == (activation in ("relu_preact", "full_preact"))
    for name in ("stages.0.0", "stages.0.1", "stages.1.0", "stages.1.1", "stages.2.0", "stages.2.1"):
        opens_stage = name.endswith(".0")
        stride = 2 if opens_stage and name != "stages.0.0" else 1
        expected = UNITS[activation](Unit(arrays, f"{name}."), x, stride, opens_stage)
        x = arrays[f"stage/{name}"]
        assert np.abs(x - expected).max() <= 1e-12 * np.abs(expected).max(), name
    last = arrays["stage/last"]
    logits = last.mean((2, 3)) @ arrays["classifier.weight"].T.astype(np.float64) + arrays["classifier.bias"]
    assert np.abs(logits - arrays["stage/logits"]).max() <= 1e-12 * np.abs(logits).max()
    if activation == "full_preact":
        x = Unit(arrays, "").norm(x, "last")
    expected = relu(x) if activation.endswith("preact") else x
    assert np.abs(last - expected).max() <= 1e-12 * np.abs(last).max()
