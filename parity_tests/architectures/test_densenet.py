"""DenseNet: counts, blocks by hand, and its networks in torchvision and Paddle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from repro.errors import ReproError
from repro.specs import find_spec
from repro.specs.densenet import densenet
from repro.weights.init import initialise

Run = Callable[..., Any]

# parameters, millions of MACs at 224 pixels, channels at the end; torchvision publishes the MACs in whole millions
COUNTED = {
    "densenet121": (7_978_856, 2_834.16, 1024),
    "densenet161": (28_681_000, 7_727.91, 2208),
    "densenet169": (14_149_480, 3_359.84, 1664),
    "densenet201": (20_013_928, 4_291.37, 1920),
}


@pytest.mark.parametrize("name", COUNTED)
def test_parameters_and_macs(name: str) -> None:
    spec = densenet(int(name.removeprefix("densenet")))
    assert (spec.params, round(spec.macs / 1e6, 2), spec.features) == COUNTED[name]


@pytest.mark.parametrize("depth", [121, 161, 169, 201])
def test_depth_counts_the_layers(depth: int) -> None:
    """The number in a network's name is that of its convolutions and linear layers."""
    assert sum(op.kind != "norm" for op in densenet(depth).trace().operators) == depth


def test_stages_worked_by_hand() -> None:
    """64 channels and six blocks of 32 make 256; the transition leaves 128."""
    first, second = densenet(121).stages[:2]
    assert [block.channels_in for block in first.blocks] == [64, 96, 128, 160, 192, 224]
    assert {(block.bottleneck, block.growth) for block in first.blocks} == {(128, 32)}
    assert (first.transition, second.transition) == (None, (256, 128))


def test_initial_weights() -> None:
    """Convolutions are normal over the fan out, as in the authors' code; the classifier is torch's with zero biases."""
    arrays = initialise(find_spec("densenet121"), 0)
    assert abs(arrays["stem.conv.weight"].std() / np.sqrt(2 / (64 * 49)) - 1) < 0.03
    assert abs(arrays["stages.3.blocks.0.conv2.weight"].std() / np.sqrt(2 / (32 * 9)) - 1) < 0.02
    assert 0.95 / 32 < np.abs(arrays["classifier.weight"]).max() <= 1 / 32
    assert not arrays["classifier.bias"].any()


@pytest.mark.parametrize("depth", [120, "121", None])
def test_bad_depth(depth: object) -> None:
    with pytest.raises(ReproError, match="depth must be one of 121, 161, 169, 201"):
        densenet(depth)  # type: ignore[arg-type]


def test_bad_option() -> None:
    with pytest.raises(ReproError, match="unknown option of densenet121 'drop_path'"):
        find_spec("densenet121", drop_path=0.1)


def test_too_small_images_are_refused() -> None:
    """The stem and the pooling leave 8 of 29 pixels, which the transitions halve to 1."""
    with pytest.raises(ReproError, match="densenet121 takes images of at least 29 pixels, not 28"):
        find_spec("densenet121").trace(28)


def test_blocks_worked_by_hand(run_program: Run, backend: str) -> None:
    """Norm and ReLU before each convolution, the order of the channels, the transition and the head."""
    outputs = run_program(backend, "densenet:small_network", backend)
    expected = {"stages.0": [1] * 4 + [10] * 4, "stages.1.transition": [4], "logits": [15]}  # the input comes first
    for name, values in expected.items():
        assert np.abs(np.array(outputs[name]) - values).max() < 1e-4, (name, outputs[name])


@pytest.mark.parametrize(
    ("package", "backend", "tolerance"), [("torchvision", "torch", 1e-12), ("paddle", "paddle", 1e-9)]
)
def test_equals_other_packages(
    package: str, backend: str, tolerance: float, run_program: Run, require_backend: Callable[[str], None]
) -> None:
    """The comparison is in float64. The deeper variants have more of the same blocks, or wider ones, which are counted.

    MindCV's networks are compared in parity_tests/weights/test_layouts.py.
    """
    require_backend(backend)
    shapes = [(1, 3, 64, 64), (2, 3, 65, 47), (1, 3, 29, 29)]
    assert max(run_program(backend, f"densenet:{package}_errors", shapes)) <= tolerance
