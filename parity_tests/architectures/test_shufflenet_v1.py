"""ShuffleNet V1: published counts, units by hand, and its networks in MindCV."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from repro.errors import ReproError
from repro.specs import CATALOGUE, find_spec
from repro.specs.shufflenet_v1 import Unit, shufflenet_v1
from repro.weights.init import initialise

Run = Callable[..., Any]

# groups, width: parameters, millions of MACs; counted in the authors' code (3 and 8 groups, widths from 0.5) and in a
# network built from the paper's Table 1
COUNTED = {
    (1, 0.25): (208_746, 11.00),
    (1, 0.5): (533_484, 38.52),
    (1, 1.0): (1_530_936, 143.08),
    (1, 1.5): (2_992_356, 313.68),
    (1, 2.0): (4_917_744, 550.33),
    (2, 1.0): (1_732_848, 140.84),
    (2, 2.0): (5_256_896, 539.14),
    (3, 0.25): (304_902, 11.01),
    (3, 0.5): (717_324, 37.59),
    (3, 1.0): (1_864_728, 137.46),
    (3, 1.5): (3_441_168, 292.44),
    (3, 2.0): (5_449_776, 524.05),
    (4, 1.0): (1_967_344, 134.34),
    (4, 2.0): (5_592_528, 510.29),
    (8, 0.5): (1_010_448, 40.47),
    (8, 1.0): (2_433_768, 138.37),
    (8, 1.5): (4_268_952, 290.19),
    (8, 2.0): (6_521_232, 521.94),
}


def name_of(groups: int, width: float) -> str:
    return f"shufflenet_v1_g{groups}_x{width}".replace(".", "_")


@pytest.mark.parametrize(("groups", "width"), COUNTED)
def test_parameters_and_macs(groups: int, width: float) -> None:
    spec = find_spec(name_of(groups, width))
    assert (spec.params, round(spec.macs / 1e6, 2)) == COUNTED[groups, width]


def test_every_variant_is_counted() -> None:
    assert {name for name in CATALOGUE if name.startswith("shufflenet_v1")} == {name_of(*key) for key in COUNTED}


@pytest.mark.parametrize(("groups", "published"), [(1, 143), (2, 140), (3, 137), (4, 133), (8, 137)])
def test_table_1_counts_convolutions_only(groups: int, published: int) -> None:
    convolutions = sum(op.macs for op in shufflenet_v1(groups).trace().operators if op.kind == "conv")
    assert round(convolutions / 1e6) == published


@pytest.mark.parametrize(
    ("groups", "width", "published"),
    [
        (3, 0.5, 38), (3, 1.0, 138), (3, 1.5, 292), (3, 2.0, 524), (8, 0.5, 40), (8, 1.0, 138), (8, 1.5, 290),
        (8, 2.0, 522),
    ],
)  # fmt: skip
def test_the_authors_list_also_counts_the_classifier(groups: int, width: float, published: int) -> None:
    assert abs(shufflenet_v1(groups, width=width).macs / 1e6 - published) <= 0.55


@pytest.mark.parametrize(
    ("groups", "width", "reason"),
    [
        (2, 0.25, "bottleneck of stage 2 would have 12.5 channels, which is not a multiple of 2"),
        (2, 0.5, "bottleneck of stage 2 would have 25 channels, which is not a multiple of 2"),
        (2, 1.5, "bottleneck of stage 2 would have 75 channels, which is not a multiple of 2"),
        (4, 0.25, "bottleneck of stage 2 would have 17 channels, which is not a multiple of 4"),
        (4, 0.5, "bottleneck of stage 2 would have 34 channels, which is not a multiple of 4"),
        (4, 1.5, "bottleneck of stage 2 would have 102 channels, which is not a multiple of 4"),
        (8, 0.25, "first branch of stage 2 would have 90 channels, which is not a multiple of 8"),
        (3, 0.3, "stem would have 7.2 channels, which is not a multiple of 1"),
    ],
)
def test_undefined_channels_are_refused(groups: int, width: float, reason: str) -> None:
    with pytest.raises(ReproError, match=f"width {width} is not defined for {groups} groups: the {reason}"):
        shufflenet_v1(groups, width=width)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width must be a number"),
        ({"width": "wide"}, "width must be a number"),
        ({"width": float("nan")}, "width must be a number"),
        ({"dropout": 1}, "dropout must be"),
        ({"num_classes": 0}, "num_classes must be a whole number"),
        ({"groups": 3}, "unknown option"),
        ({"drop_path": 0.1}, "unknown option"),
    ],
)
def test_bad_option(options: dict, message: str) -> None:
    with pytest.raises(ReproError, match=message):
        find_spec("shufflenet_v1_g3_x1_0", **options)


@pytest.mark.parametrize("groups", [0, 5, 3.0, True, "3"])
def test_bad_groups(groups: object) -> None:
    with pytest.raises(ReproError, match="groups must be 1, 2, 3, 4 or 8"):
        shufflenet_v1(groups)  # type: ignore[arg-type]


def test_units_worked_by_hand() -> None:
    stages = shufflenet_v1(3).stages
    assert [len(stage) for stage in stages] == [4, 8, 4]
    assert stages[0][0] == Unit(24, 60, 240, stride=2, reduce_groups=1, groups=3)
    assert stages[0][0].branch == 216  # the other 24 of 240 channels are the averaged input
    assert stages[0][1] == Unit(240, 60, 240, stride=1, reduce_groups=3, groups=3)
    assert stages[2][0] == Unit(480, 240, 960, stride=2, reduce_groups=3, groups=3)
    assert shufflenet_v1(8, width=0.5).stem == 16
    assert [shufflenet_v1(groups, width=1.5).stem for groups in (1, 3, 8)] == [36, 24, 24]


def test_stages_halve_the_map() -> None:
    stages = find_spec("shufflenet_v1_g3_x1_0").trace().stages
    assert stages["stem"] == (24, 112, 112)
    assert [stages[f"stages.{number}.0"] for number in range(3)] == [(240, 28, 28), (480, 14, 14), (960, 7, 7)]


def test_initial_weights() -> None:
    arrays = initialise(find_spec("shufflenet_v1_g3_x1_0", in_channels=1), 0)
    assert arrays["stem.conv.weight"].std() == pytest.approx(0.01, rel=0.1)  # (24, 1, 3, 3), not depthwise
    assert arrays["stages.2.1.depthwise.conv.weight"].std() == pytest.approx(1, rel=0.05)
    assert arrays["stages.2.1.reduce.conv.weight"].std() == pytest.approx(1 / 320, rel=0.01)
    assert arrays["classifier.weight"].std() == pytest.approx(0.01, rel=0.01)
    assert set(np.unique(arrays["stages.0.0.expand.norm.bias"])) == {np.float32(1e-4)}
    assert set(np.unique(arrays["stages.0.0.expand.norm.weight"])) == {1}


def test_unit_worked_by_hand(backend: str, run_program: Run) -> None:
    """Convolutions that return their inputs leave the shuffle, the pooling and the concatenation visible."""
    # 6 channels are read as rows 1 2 3 and 4 5 6, written column by column, and added to the input before a ReLU
    unit = asdict(Unit(6, 6, 6, stride=1, reduce_groups=3, groups=3))
    x = np.arange(1, 7).reshape(1, 6, 1, 1)
    output = np.array(run_program(backend, "shufflenet_v1:unit_output", backend, unit, x.tolist()))
    assert np.allclose(output.ravel(), x.ravel() + np.array([1, 4, 2, 5, 3, 6]), atol=1e-4), output
    assert not np.any(run_program(backend, "shufflenet_v1:unit_output", backend, unit, (-x).tolist()))

    # 2 channels of 4x4 become 8 of 2x2: means over nine pixels with zeros around the image, then the branch
    unit = asdict(Unit(2, 6, 8, stride=2, reduce_groups=1, groups=3))
    ramp = np.arange(1, 17).reshape(4, 4)
    x = np.stack([ramp, 100 * ramp])[None]
    output = np.array(run_program(backend, "shufflenet_v1:unit_output", backend, unit, x.tolist()))[0]
    means = np.array([[14, 30], [57, 99]]) / 9
    assert np.allclose(output[:2], [means, 100 * means], rtol=1e-4), output[:2]
    branch = np.array([1, 100, 100, 1, 1, 100])[:, None, None] * ramp[::2, ::2]
    assert np.allclose(output[2:], branch, rtol=1e-4), output[2:]


def test_small_and_oblong_images(backend: str, run_program: Run) -> None:
    result = run_program(backend, "shufflenet_v1:shapes_of_small_images", backend, [(1, 1), (33, 20)])
    assert result["smallest size"] == 1
    (pixel, pixel_logits), (oblong, oblong_logits) = result["shapes"]
    assert (pixel[2:], oblong[2:]) == ([1, 1], [2, 1])
    assert pixel_logits == oblong_logits == [2, 2]


@pytest.mark.slow
@pytest.mark.parametrize("width", ["05", "10", "15", "20"])
@pytest.mark.parametrize("groups", [3, 8])
def test_equals_mindcv_except_for_its_pooling(
    groups: int, width: str, run_program: Run, require_backend: Callable[[str], None]
) -> None:
    """A tolerance of 1e-5 is a hundred times the rounding of float32, for some fifty layers."""
    require_backend("mindspore")
    errors = run_program("mindspore", "shufflenet_v1:mindcv_errors", groups, width, [64, 65], ["max", "mean"])
    assert max(errors) < 1e-5


@pytest.mark.slow
def test_mindcv_pads_its_poolings_at_the_end(run_program: Run, require_backend: Callable[[str], None]) -> None:
    """pad_mode="same" moves both poolings by a pixel at even sizes, and leaves the padding out of the means.

    At odd sizes the maximum is the same, and the mean is not.
    """
    require_backend("mindspore")

    def errors(poolings: list[str]) -> list[float]:
        return run_program("mindspore", "shufflenet_v1:mindcv_errors", 3, "05", [64, 65], poolings)

    none_replaced, max_replaced, mean_replaced = errors([]), errors(["max"]), errors(["mean"])
    assert min(none_replaced[0], max_replaced[0], mean_replaced[0]) > 1e-2
    assert none_replaced[1] > 1e-2
    assert mean_replaced[1] < 1e-5
