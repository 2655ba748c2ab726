"""Parameters and MACs of the specs, compared with published figures and with those of reference implementations."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from repro.errors import ReproError
from repro.specs import CATALOGUE, Trace, find_spec
from repro.specs.asymmnet import AsymmNetSpec, asymmnet, ceil8, mobilenet_v3, round8

# name -> parameters and millions of MACs at the published size, counted in the authors' PyTorch code and torchvision
COUNTED = {
    "asymmnet_large": (6_076_608, 216.92),
    "asymmnet_large_r0": (5_481_752, 216.59),
    "asymmnet_large_r2": (6_730_984, 217.31),
    "asymmnet_large_x0_75": (4_290_672, 142.08),
    "asymmnet_large_x0_75_r0": (3_937_312, 142.14),
    "asymmnet_large_x0_75_r2": (4_667_824, 142.04),
    "asymmnet_large_x0_5": (2_844_976, 67.24),
    "asymmnet_large_x0_5_r0": (2_681_136, 65.91),
    "asymmnet_large_x0_5_r2": (3_000_472, 68.57),
    "asymmnet_large_x0_35": (2_207_376, 42.62),
    "asymmnet_large_x0_35_r0": (2_126_632, 41.68),
    "asymmnet_small": (3_131_896, 57.67),
    "asymmnet_small_r0": (2_945_288, 56.91),
    "asymmnet_small_r2": (3_347_056, 58.46),
    "asymmnet_small_x0_75": (2_495_128, 40.82),
    "asymmnet_small_x0_75_r0": (2_388_024, 40.36),
    "asymmnet_small_x0_75_r2": (2_623_752, 41.31),
    "asymmnet_small_x0_5": (1_964_472, 20.59),
    "asymmnet_small_x0_5_r0": (1_905_936, 19.96),
    "asymmnet_small_x0_5_r2": (2_020_056, 21.23),
    "asymmnet_small_x0_35": (1_735_032, 15.24),
    "asymmnet_small_x0_35_r0": (1_702_840, 14.78),
    "mobilenet_v3_large": (5_483_032, 216.59),
    "mobilenet_v3_small": (2_542_856, 56.51),
    "mobilenet_v3_large_x0_75_keras": (3_993_528, 154.56),
    "mobilenet_v3_small_x0_75_keras": (2_041_872, 43.40),
}


@pytest.mark.parametrize("name", COUNTED)
def test_parameters_and_macs(name: str) -> None:
    spec = find_spec(name)
    assert (spec.params, round(spec.macs / 1e6, 2)) == COUNTED[name]


def test_every_asymmnet_is_counted() -> None:
    assert {name for name in CATALOGUE if name.startswith("asymmnet")} <= set(COUNTED)


def test_exact_macs() -> None:
    assert find_spec("asymmnet_large_r0").macs == 216_589_760


def test_article_counts() -> None:
    """The Caltech-16 article: 16 classes, 256 pixels."""
    spec = find_spec("asymmnet_large", num_classes=16)
    assert spec.params == 4_816_104
    assert round(sum(op.macs for op in spec.trace(256).operators) / 1e6, 2) == 280.66


def test_asymmrate_0_is_mobilenet_v3_up_to_one_bias() -> None:
    ours, theirs = find_spec("asymmnet_large_r0"), find_spec("mobilenet_v3_large")
    assert set(theirs.weights) - set(ours.weights) == {"hidden.bias"}
    assert all(ours.weights[name] == theirs.weights[name] for name in ours.weights)
    assert ours.macs == theirs.macs


def test_keras_expands_the_rounded_channels_and_keeps_the_head() -> None:
    """0.75 * 16 = 12 becomes 16, which Keras expands to 64, and torchvision, from 0.75 * 64, to 48."""
    keras, torchvision = find_spec("mobilenet_v3_large_x0_75_keras"), find_spec("mobilenet_v3_large_x0_75")
    assert isinstance(keras, AsymmNetSpec)
    assert isinstance(torchvision, AsymmNetSpec)
    assert (keras.stages[1][0].expanded, torchvision.stages[1][0].expanded) == (64, 48)
    assert (keras.hidden, torchvision.hidden) == (1280, 960)
    assert mobilenet_v3("small", width=0.2, structure="keras").stem == 16
    assert mobilenet_v3("large", structure="keras") == mobilenet_v3("large")
    with pytest.raises(ReproError, match="unknown structure 'timm'"):
        mobilenet_v3("large", structure="timm")


def test_bottleneck_worked_by_hand() -> None:
    """24 -> 72 -> 24 with one copy on either side: 48 computed, 96 deep."""
    block = asymmnet("large").stages[1][1]
    assert (block.pointwise, block.depthwise, block.residual) == (48, 96, True)
    block = asymmnet("large", asymmrate=2).stages[1][1]
    assert (block.pointwise, block.depthwise) == (24, 120)
    first = asymmnet("large").stages[0][0]
    assert (first.expands, first.depthwise) == (False, 16)


def test_trace_conv_worked_by_hand() -> None:
    net = Trace()
    assert net.conv("c", (4, 7, 8), 6, 3, stride=2, groups=2, bias=True) == (6, 4, 4)
    assert net.weights["c.weight"].shape == (6, 2, 3, 3)
    assert (net.operators[0].params, net.operators[0].macs) == (6 * 2 * 9 + 6, 6 * 2 * 9 * 16)


@pytest.mark.parametrize(("channels", "up", "near"), [(8, 8, 8), (12, 16, 16), (5.6, 8, 8), (35, 40, 32), (36, 40, 40)])
def test_rounding_of_channels(channels: float, up: int, near: int) -> None:
    assert (ceil8(channels), round8(channels)) == (up, near)
    assert round8(10) == 16  # 8 would lose more than a tenth


@pytest.mark.parametrize("size", ["large", "small"])
def test_impossible_setting_says_why(size: str) -> None:
    with pytest.raises(ReproError, match="asymmrate 2 would replace; give a larger width or a smaller asymmrate"):
        asymmnet(size, width=0.35, asymmrate=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"asymmrate": 3}, "asymmrate must be 0, 1 or 2"),
        ({"asymmrate": 1.0}, "asymmrate must be 0, 1 or 2"),
        ({"width": 0}, "width must be a number"),
        ({"width": "wide"}, "width must be a number"),
        ({"width": float("nan")}, "width must be a number"),
        ({"num_classes": 0}, "num_classes must be a whole number"),
        ({"num_classes": 2.5}, "num_classes must be a whole number"),
        ({"in_channels": -1}, "in_channels must be a whole number"),
        ({"dropout": 1.0}, "dropout must be"),
        ({"dropout": "x"}, "dropout must be"),
        ({"drop_path": -0.1}, "unknown option of asymmnet_small"),
        ({"widht": 1}, "did you mean width"),
    ],
)
def test_bad_option(options: dict, message: str) -> None:
    with pytest.raises(ReproError, match=message):
        find_spec("asymmnet_small", **options)


def test_unknown_model_names_the_nearest() -> None:
    with pytest.raises(ReproError, match="did you mean asymmnet_large"):
        find_spec("asymnet_large")


def test_options_replace_what_the_name_fixes() -> None:
    assert find_spec("asymmnet_large", width=0.5).params == find_spec("asymmnet_large_x0_5").params
    assert mobilenet_v3("small", num_classes=7).weights["classifier.weight"].shape == (7, 1024)


def test_models_command() -> None:
    output = subprocess.run(
        [sys.executable, "-m", "repro.models", "--json"], capture_output=True, text=True, check=True
    ).stdout
    rows = json.loads(output)
    assert {row["name"] for row in rows} == set(CATALOGUE)
    assert set(rows[0]) == {"name", "family", "params", "macs", "input_size", "source"}
    large = next(row for row in rows if row["name"] == "asymmnet_large")
    assert (large["params"], large["family"], large["input_size"]) == (6_076_608, "asymmnet", 224)
