"""RDNet: published counts, blocks by hand, and its network in timm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from repro.errors import ReproError
from repro.specs import find_spec
from repro.specs.rdnet import Transition, rdnet
from repro.weights.init import initialise

Run = Callable[..., Any]

# parameters, millions of MACs at 224 pixels, as counted in the authors' code
COUNTED = {
    "rdnet_tiny": (23_863_008, 5_032.67),
    "rdnet_small": (50_436_448, 8_706.22),
    "rdnet_base": (87_451_096, 15_358.16),
    "rdnet_large": (186_269_632, 34_675.29),
}
# channels before each halving of the map and at the end; drop-path rate
PUBLISHED = {
    "rdnet_tiny": ([256, 440, 744, 1040], 0.15),
    "rdnet_small": ([264, 512, 760, 1264], 0.35),
    "rdnet_base": ([408, 584, 1000, 1760], 0.4),
    "rdnet_large": ([528, 840, 1528, 2000], 0.5),
}


@pytest.mark.parametrize("name", COUNTED)
def test_parameters_and_macs(name: str) -> None:
    spec = find_spec(name)
    assert (spec.params, round(spec.macs / 1e6, 2)) == COUNTED[name]


def test_macs_of_rdnet_large_at_384_pixels() -> None:
    operators = find_spec("rdnet_large").trace(384).operators
    assert round(sum(op.macs for op in operators) / 1e6, 2) == 101_894.47


@pytest.mark.parametrize("name", PUBLISHED)
def test_widths_and_drop_path(name: str) -> None:
    widths, rate = PUBLISHED[name]
    spec = rdnet(name.removeprefix("rdnet_"))
    transitions = [stage.transition for stage in spec.stages if stage.transition]
    assert [t.channels_in for t in transitions if t.stride == 2] + [spec.features] == widths
    assert spec.drop_path == rate


def test_stages_worked_by_hand() -> None:
    """The third stage halves 440 channels to 220, rounded down to 216, a multiple of 8."""
    spec = rdnet("tiny")
    stage0, stage2 = spec.stages[0], spec.stages[2]
    assert stage0.transition is None
    assert [(b.channels_in, b.expanded, b.growth, b.gate) for b in stage0.blocks] == [
        (64, 256, 64, False), (128, 512, 64, False), (192, 768, 64, False),
    ]  # fmt: skip
    assert stage2.transition == Transition(440, 216, stride=2)
    assert [b.gate for stage in spec.stages for b in stage.blocks] == [False] * 6 + [True] * 15
    depths = [b.depth for stage in spec.stages for b in stage.blocks]
    assert np.allclose(depths, np.linspace(0, 1, 21), rtol=0, atol=1e-15)


def test_initial_weights() -> None:
    """Weights are normal over the fan in, 49 for a depthwise 7x7; biases of convolutions have torch's bounds."""
    arrays = initialise(find_spec("rdnet_tiny"), 0)
    assert abs(arrays["stages.0.blocks.0.expand.weight"].std() / np.sqrt(2 / 64) - 1) < 0.02
    assert abs(arrays["stages.6.blocks.2.depthwise.weight"].std() / np.sqrt(2 / 49) - 1) < 0.02
    bias, bound = arrays["stages.6.blocks.2.depthwise.bias"], 1 / 7
    assert 0.95 * bound < np.abs(bias).max() <= bound
    assert 0.95 / np.sqrt(1040) < np.abs(arrays["classifier.weight"]).max() <= 1 / np.sqrt(1040)
    assert not arrays["classifier.bias"].any()
    assert set(arrays["stages.0.blocks.0.scale"]) == {np.float32(1e-6)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"drop_path": 1.0}, "drop_path must be at least 0 and below 1"),
        ({"drop_path": "x"}, "drop_path must be"),
        ({"dropout": -0.1}, "dropout must be"),
        ({"in_channels": 0}, "in_channels must be"),
        ({"growth": 64}, "unknown option of rdnet_tiny"),
    ],
)
def test_bad_option(options: dict, message: str) -> None:
    with pytest.raises(ReproError, match=message):
        find_spec("rdnet_tiny", **options)


def test_too_small_images_are_refused() -> None:
    """The map has a side for every 4 pixels, and is halved three times."""
    with pytest.raises(ReproError, match="rdnet_tiny takes images of at least 32 pixels, not 31"):
        find_spec("rdnet_tiny").trace(31)


def test_block_worked_by_hand(run_program: Run, backend: str) -> None:
    """The order of the channels, the exact GELU, the gate, the scale and the norm of the head."""
    outputs = run_program(backend, "rdnet:block_outputs", backend)
    expected = np.array([1, -1, 3.3653790, -2.5018622])  # the block's input comes first
    normalised = (expected - expected.mean()) / np.sqrt(expected.var() + 1e-5)
    assert np.abs(outputs["stages.0"] - expected).max() < 1e-5, outputs
    assert np.abs(outputs["norm"] - normalised).max() < 1e-5, outputs


def test_drop_path_drops_whole_images(run_program: Run, backend: str) -> None:
    outputs = run_program(backend, "rdnet:drop_path", backend)
    training, evaluation = np.array(outputs["training"]), np.array(outputs["evaluation"])
    assert np.array_equal(evaluation, np.ones((400, 2)))
    assert training.shape == (400, 2)
    assert np.array_equal(training[:, 0], training[:, 1])
    is_kept = training[:, 0] != 0
    assert np.allclose(training[is_kept], 4 / 3)
    assert 260 < is_kept.sum() < 340  # 300 on average, with a standard deviation of 8.7


@pytest.mark.slow
def test_equals_timm(run_program: Run, require_backend: Callable[[str], None]) -> None:
    """Logits are equal in float64 once the head has the authors' epsilon of 1e-5, torch's default; timm's is 1e-6.

    The larger variants have more of the same blocks, which are counted.
    """
    require_backend("torch")
    errors = run_program("torch", "rdnet:timm_errors", [(32, 32), (64, 64), (65, 47)])
    assert 1e-9 < errors["reference epsilon"][0] < 1e-3
    assert max(errors["our epsilon"]) < 1e-12
