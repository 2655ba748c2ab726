"""ShuffleNet V2: published counts, units by hand, and its networks in torchvision, Paddle and MindCV."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from repro.errors import ReproError
from repro.specs import CATALOGUE, find_spec
from repro.specs.shufflenet_v2 import Unit, shufflenet_v2
from repro.weights.init import initialise

Run = Callable[..., Any]
Require = Callable[[str], None]

# name: parameters, millions of MACs, as counted in the authors' code and in torchvision
COUNTED = {
    "shufflenet_v2_x0_5": (1_365_792, 40.48),
    "shufflenet_v2_x1_0": (2_278_760, 145.81),
    "shufflenet_v2_x1_5": (3_506_720, 298.97),
    "shufflenet_v2_x2_0": (7_402_600, 590.78),
    "shufflenet_v2_x0_5_torchvision": (1_366_792, 40.48),
    "shufflenet_v2_x1_0_torchvision": (2_278_604, 144.91),
    "shufflenet_v2_x1_5_torchvision": (3_503_624, 295.76),
    "shufflenet_v2_x2_0_torchvision": (7_393_996, 583.25),
}


@pytest.mark.parametrize("name", COUNTED)
def test_parameters_and_macs(name: str) -> None:
    spec = find_spec(name)
    assert (spec.params, round(spec.macs / 1e6, 2)) == COUNTED[name]


def test_every_variant_is_counted() -> None:
    assert {name for name in CATALOGUE if name.startswith("shufflenet_v2")} == set(COUNTED)


@pytest.mark.parametrize(("width", "published"), [(1.0, 146), (1.5, 299), (2.0, 591)])
def test_the_papers_macs_are_those_of_the_authors_structure(width: float, published: int) -> None:
    """Both structures cost the same at width 0.5, where 24 channels are half of 48."""
    assert round(shufflenet_v2("authors", width=width).macs / 1e6) == published
    assert round(shufflenet_v2("torchvision", width=width).macs / 1e6) < published


def test_units_worked_by_hand() -> None:
    """24 -> 116 channels: the authors keep the 24 and compute 92 more, torchvision computes 58 and 58."""
    authors, torchvision = shufflenet_v2("authors").stages[0], shufflenet_v2("torchvision").stages[0]
    assert [len(stage) for stage in shufflenet_v2("authors").stages] == [4, 8, 4]
    assert authors[0] == Unit(24, 116, stride=2, shortcut=24)
    assert (authors[0].branch_in, authors[0].middle, authors[0].branch_out) == (24, 58, 92)
    assert torchvision[0] == Unit(24, 116, stride=2, shortcut=58)
    assert (torchvision[0].branch_in, torchvision[0].middle, torchvision[0].branch_out) == (24, 58, 58)
    assert authors[1] == torchvision[1] == Unit(116, 116, stride=1, shortcut=58)
    assert (authors[1].branch_in, authors[1].middle, authors[1].branch_out) == (58, 58, 58)


def test_only_the_authors_widest_network_has_dropout() -> None:
    assert {name for name in COUNTED if find_spec(name).dropout} == {"shufflenet_v2_x2_0"}
    assert find_spec("shufflenet_v2_x2_0").dropout == 0.2


def test_the_classifier_has_a_bias_in_torchvision_only() -> None:
    assert {name for name in COUNTED if "classifier.bias" in find_spec(name).weights} == {
        name for name in COUNTED if name.endswith("torchvision")
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0.75}, "unknown width of ShuffleNet V2 0.75"),
        ({"width": [1.0]}, "unknown width of ShuffleNet V2"),
        ({"dropout": -0.1}, "dropout must be"),
        ({"in_channels": 0}, "in_channels must be a whole number"),
        ({"structure": "authors"}, "unknown option"),
        ({"drop_path": 0.1}, "unknown option"),
    ],
)
def test_bad_option(options: dict, message: str) -> None:
    with pytest.raises(ReproError, match=message):
        find_spec("shufflenet_v2_x1_0", **options)


def test_bad_structure() -> None:
    with pytest.raises(ReproError, match="unknown structure 'torch_vision': did you mean torchvision"):
        shufflenet_v2("torch_vision")  # type: ignore[arg-type]


def test_initial_weights() -> None:
    authors = initialise(find_spec("shufflenet_v2_x1_0", in_channels=1), 0)
    assert authors["stem.conv.weight"].std() == pytest.approx(0.01, rel=0.1)
    assert authors["last.conv.weight"].std() == pytest.approx(1 / 464, rel=0.01)
    assert authors["stages.2.0.shortcut.0.conv.weight"].std() == pytest.approx(1, rel=0.05)
    assert set(np.unique(authors["last.norm.bias"])) == {np.float32(1e-4)}
    torchvision = initialise(find_spec("shufflenet_v2_x1_0_torchvision"), 0)
    for name, inputs in (("last.conv.weight", 464), ("classifier.weight", 1024), ("classifier.bias", 1024),
                         ("stages.2.0.shortcut.0.conv.weight", 9)):  # fmt: skip
        limit = 1 / math.sqrt(inputs)
        assert 0.99 * limit < np.abs(torchvision[name]).max() <= limit
        assert torchvision[name].std() == pytest.approx(limit / math.sqrt(3), rel=0.05)
    assert not torchvision["last.norm.bias"].any()


def test_unit_worked_by_hand(backend: str, run_program: Run) -> None:
    """Convolutions that return their inputs leave the split, the concatenation and the shuffle visible.

    The branch multiplies by 10.
    """

    def output(structure: str, unit: Unit, images: np.ndarray) -> np.ndarray:
        case = (structure, asdict(unit), images.tolist())
        return np.array(run_program(backend, "shufflenet_v2:unit_output", backend, *case))

    pixel = np.arange(1, 7).reshape(1, 6, 1, 1)
    unit = Unit(6, 6, stride=1, shortcut=3)
    # in the authors' code, channels 1, 3 and 5 pass, and the branch computes on channels 2, 4 and 6
    y = output("authors", unit, pixel).ravel()
    assert np.allclose(y, [1, 3, 5, 20, 40, 60], rtol=1e-4), y
    # in torchvision the first half passes and the branch computes on the second; their channels alternate afterwards
    y = output("torchvision", unit, pixel).ravel()
    assert np.allclose(y, [1, 40, 2, 50, 3, 60], rtol=1e-4), y

    # 2 channels of 3x3 become 6 of 2x2: every second pixel, through the shortcut and through the branch
    images = np.stack([np.arange(1, 10), np.arange(11, 20)]).reshape(1, 2, 3, 3)
    pixels = images[0, :, ::2, ::2]
    y = output("authors", Unit(2, 6, stride=2, shortcut=2), images)[0]
    # the middle has channels 0, 1 and 0 again, and the fourth output repeats the first
    branch = 10 * pixels[[0, 1, 0, 0]]
    assert np.allclose(y, np.concatenate([pixels, branch]), rtol=1e-4), y
    y = output("torchvision", Unit(2, 6, stride=2, shortcut=3), images)[0]
    assert np.allclose(y, pixels[[0, 0, 1, 1, 0, 0]] * np.reshape([1, 10] * 3, (6, 1, 1)), rtol=1e-4), y


def test_small_and_oblong_images(backend: str, run_program: Run) -> None:
    result = run_program(backend, "shufflenet_v2:shapes_of_small_images", backend, [(1, 1), (33, 20)])
    assert result == {
        "smallest size": 1,
        "shapes": [[[2, 1024, 1, 1], [2, 2]], [[2, 1024, 2, 1], [2, 2]]],
    }


@pytest.mark.slow
@pytest.mark.parametrize("width", ["x0_5", "x1_0", "x1_5", "x2_0"])
def test_equals_torchvision(width: str, run_program: Run, require_backend: Require) -> None:
    """The comparison is in float64."""
    require_backend("torch")
    assert max(run_program("torch", "shufflenet_v2:torchvision_errors", width, [64, 33])) <= 1e-12


def test_equals_paddle_vision_except_for_its_channels(run_program: Run, require_backend: Require) -> None:
    """The second stage of Paddle's x2_0 has 224 channels instead of 244; with 224 in our table, the two are equal."""
    require_backend("paddle")
    assert run_program("paddle", "shufflenet_v2:paddle_error", "x0_5", 64) <= 1e-12
    weights = run_program("paddle", "shufflenet_v2:paddle_weights", "x2_0")
    assert weights["parameters"] == 7_393_996
    assert weights["paddle parameters"] == 7_366_536
    assert weights["shape in the second stage"] == [122, 122, 1, 1]
    assert [112, 112, 1, 1] in weights["paddle shapes"]
    assert [122, 122, 1, 1] not in weights["paddle shapes"]
    assert run_program("paddle", "shufflenet_v2:paddle_error", "x2_0", 33, [224, 488, 976, 2048]) <= 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("width", ["x1_0", "x2_0"])
def test_equals_mindcv_except_for_its_pooling(width: str, run_program: Run, require_backend: Require) -> None:
    """pad_mode="same" moves the pooling by a pixel at even sizes only. MindCV also lacks the dropout of x2_0.

    A tolerance of 1e-5 is a hundred times the rounding of float32, for some fifty layers.
    """
    require_backend("mindspore")
    errors = run_program("mindspore", "shufflenet_v2:mindcv_errors", width, [64, 65])
    assert not errors["has dropout"]
    assert errors["their pooling"]["65"] < 1e-5
    assert errors["their pooling"]["64"] > 1e-2
    assert errors["our pooling"]["64"] < 1e-5
