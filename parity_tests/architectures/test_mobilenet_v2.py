"""MobileNetV2: counts, blocks by hand, and its networks in torchvision, Paddle and MindCV."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from repro.errors import ReproError
from repro.interface.discovery import SHIPPED
from repro.specs import CATALOGUE, find_spec
from repro.specs.mobilenet_v2 import InvertedResidual, mobilenet_v2

Run = Callable[..., Any]
Require = Callable[[str], None]

# name: width, parameters, millions of MACs. Width 1 was counted in three packages; test_equals_torchvision compares the
# parameters of the other widths one by one
COUNTED = {
    "mobilenet_v2": (1.0, 3_504_872, 300.77),
    "mobilenet_v2_x1_4": (1.4, 6_108_776, 582.20),
    "mobilenet_v2_x1_3": (1.3, 5_386_792, 509.37),
    "mobilenet_v2_x0_75": (0.75, 2_636_424, 209.07),
    "mobilenet_v2_x0_5": (0.5, 1_968_680, 97.13),
    "mobilenet_v2_x0_35": (0.35, 1_677_128, 59.29),
}
WIDTHS = [width for width, *_ in COUNTED.values()]


@pytest.mark.parametrize("name", COUNTED)
def test_parameters_and_macs(name: str) -> None:
    width, params, macs = COUNTED[name]
    spec = find_spec(name)
    assert (spec.params, round(spec.macs / 1e6, 2)) == (params, macs)
    assert spec.weights == mobilenet_v2(width=width).weights


def test_every_variant_is_counted() -> None:
    assert {name for name in CATALOGUE if name.startswith("mobilenet_v2")} == set(COUNTED)


def test_blocks_worked_by_hand() -> None:
    stages = mobilenet_v2().stages
    assert [len(stage) for stage in stages] == [1, 2, 3, 4, 3, 3, 1]
    assert stages[0] == (InvertedResidual(32, 1, 16, 1),)
    assert stages[1] == (InvertedResidual(16, 6, 24, 2), InvertedResidual(24, 6, 24, 1))
    assert [block.residual for block in stages[1]] == [False, True]
    assert stages[4][0].expanded == 384
    assert not stages[4][0].residual  # stride 1, but 64 -> 96


def test_the_head_does_not_shrink() -> None:
    assert [mobilenet_v2(width=width).last for width in (0.35, 0.75, 1, 1.4)] == [1280, 1280, 1280, 1792]


def test_rounding_of_channels() -> None:
    """0.35 * 32 = 11.2 becomes 16, because 8 would lose more than a tenth."""
    spec = mobilenet_v2(width=0.35)
    assert spec.stem == 16
    assert [stage[-1].channels_out for stage in spec.stages] == [8, 8, 16, 24, 32, 56, 112]


def test_sides_of_the_maps() -> None:
    spec = mobilenet_v2()
    stages = spec.trace().stages
    ends = [f"stages.{number}.{len(stage) - 1}" for number, stage in enumerate(spec.stages)]
    assert [stages[name][1:] for name in ends] == [(side, side) for side in (112, 56, 28, 14, 14, 7, 7)]
    assert stages["last"] == (1280, 7, 7)
    assert spec.min_size == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width must be a number"),
        ({"width": 17}, "width must be a number"),
        ({"width": "wide"}, "width must be a number"),
        ({"dropout": 1.0}, "dropout must be"),
        ({"padding": "valid"}, "unknown padding 'valid'"),
        ({"in_channels": 0}, "in_channels must be a whole number"),
        ({"drop_path": 0.1}, "unknown option of mobilenet_v2"),
    ],
)
def test_bad_option(options: dict, message: str) -> None:
    with pytest.raises(ReproError, match=message):
        find_spec("mobilenet_v2", **options)


SHAPES = [(2, 3, 64, 64), (1, 3, 65, 47), (1, 3, 1, 1)]


@pytest.mark.slow
def test_equals_torchvision(run_program: Run, require_backend: Require) -> None:
    """Logits in float64, at every width, dropout, epsilon and momentum are equal."""
    require_backend("torch")
    for width in WIDTHS:
        result = run_program("torch", "mobilenet_v2:torchvision_errors", width, SHAPES)
        assert max(result["errors"]) <= 1e-12, (width, result["errors"])
        assert result["settings"] == result["torchvision_settings"]
        assert result["layer_dropout"] == result["settings"][0]


def test_equals_paddle(run_program: Run, require_backend: Require) -> None:
    """The comparison is in float64, except the epsilon of normalisations, which Paddle keeps in float32."""
    require_backend("paddle")
    assert max(run_program("paddle", "mobilenet_v2:paddle_errors", 0.35, SHAPES)) <= 1e-12


@pytest.mark.slow
def test_equals_mindcv(run_program: Run, require_backend: Require) -> None:
    """A tolerance of 1e-5 is a hundred times the rounding of float32, for some fifty layers."""
    require_backend("mindspore")
    assert max(run_program("mindspore", "mobilenet_v2:mindcv_errors", 0.35, SHAPES)) <= 1e-5


@pytest.mark.slow
def test_training_steps_agree(run_program: Run, require_backend: Require) -> None:
    """Losses of two steps, the second of which sees all weights changed; MindSpore compiles its steps.

    The learning rate is small because these gradients differ by half a percent in float32: a ReLU6 whose input falls
    to the other side of a kink changes the gradients of all layers before it.
    """
    options = {"width": 0.35, "num_classes": 4, "in_channels": 1, "dropout": 0.0}
    settings = {"momentum": 0.9, "weight_decay": 0.0}
    losses = {}
    for backend in SHIPPED:
        require_backend(backend)
        case = ("mobilenet_v2", options, settings, [8, 1, 64, 64], 1e-4, 2)
        losses[backend] = run_program(backend, "training_steps:losses", backend, *case)
    for backend, (first, second) in losses.items():
        assert [first, second] == pytest.approx(losses["torch"], rel=2e-4), backend
        assert second < first - 0.05, backend
