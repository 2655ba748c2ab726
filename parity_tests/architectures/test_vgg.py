"""VGG: counts, the pooling before its linear layers by hand, and its networks in other packages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from repro.errors import ReproError
from repro.specs import find_spec

Run = Callable[..., Any]
Require = Callable[[str], None]

# name: parameters, millions of MACs at 224 pixels, as counted in torchvision's networks
COUNTED = {
    "vgg16": (138_357_544, 15470.26),
    "vgg16_bn": (138_365_992, 15470.26),
    "vgg19": (143_667_240, 19632.06),
    "vgg19_bn": (143_678_248, 19632.06),
}


@pytest.mark.parametrize("name", COUNTED)
def test_parameters_and_macs(name: str) -> None:
    spec = find_spec(name)
    assert (spec.params, round(spec.macs / 1e6, 2)) == COUNTED[name]


def test_smallest_image() -> None:
    """Five halvings of 32 pixels leave one."""
    spec = find_spec("vgg16")
    assert spec.min_size == 32
    with pytest.raises(ReproError, match="vgg16 takes images of at least 32 pixels, not 31"):
        spec.trace(31)


@pytest.mark.parametrize("value", [1, "yes"])
def test_normalised_must_be_a_boolean(value: object) -> None:
    with pytest.raises(ReproError, match="normalised must be true or false"):
        find_spec("vgg16", normalised=value)


@pytest.mark.slow
def test_a_step_draws_once_for_each_hidden_layer(run_program: Run, require_backend: Require) -> None:
    """MindSpore's compiled step has one mask for each dropout layer, so that a layer that ran twice would repeat it."""
    losses = []
    for backend in ("torch", "paddle", "mindspore"):
        require_backend(backend)
        for layers, loss in run_program(backend, "vgg:dropout_of_a_step", backend):
            assert layers == ["dropout1", "dropout2"]
            losses.append(loss)
    assert np.ptp(losses) < 1e-4 * losses[0], losses
    assert losses[2] == losses[3]  # MindSpore, compiled and eager


def test_grid_worked_by_hand(run_program: Run, backend: str) -> None:
    """The adaptive pooling to 7x7 before the linear layers."""
    pixel = np.full((1, 1, 1, 1), 5)
    two_columns = np.array([[1, 3]] * 7).reshape(1, 1, 7, 2)  # only the middle window covers both of them
    nine_rows = np.arange(9).reshape(1, 1, 9, 1).repeat(7, 3)  # windows from floor(9 i / 7) to ceil(9 (i + 1) / 7)
    random = np.random.default_rng(0).standard_normal((1, 2, 7, 7)).astype(np.float32)
    inputs = [array.tolist() for array in (pixel, two_columns, nine_rows, random)]
    outputs = [np.array(output) for output in run_program(backend, "vgg:grid_outputs", backend, inputs)]
    assert [output.shape for output in outputs] == [(1, 1, 7, 7), (1, 1, 7, 7), (1, 1, 7, 7), (1, 2, 7, 7)]
    assert (outputs[0] == 5).all()
    assert (outputs[1] == [1, 1, 1, 2, 3, 3, 3]).all()
    assert np.abs(outputs[2][0, 0, :, 0] - [0.5, 1.5, 2.5, 4, 5.5, 6.5, 7.5]).max() < 1e-6
    assert (outputs[3] == random).all()


def test_too_small_images_in_the_native_models(run_program: Run, backend: str) -> None:
    """Paddle pools maps that are smaller than the window; the spec's smallest size keeps our commands from it."""
    assert run_program(backend, "vgg:accepts_smaller_images", backend) == (backend == "paddle")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vgg16_bn", "vgg19"])
def test_equals_torchvision(name: str, run_program: Run, require_backend: Require) -> None:
    require_backend("torch")
    assert max(run_program("torch", "vgg:torchvision_errors", name, [32, 75])) <= 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vgg16", "vgg19_bn"])
def test_equals_paddle_vision(name: str, run_program: Run, require_backend: Require) -> None:
    """Paddle keeps the epsilon of normalisations in float32."""
    require_backend("paddle")
    assert max(run_program("paddle", "vgg:paddle_errors", name, [32, 75])) <= 1e-9


@pytest.mark.slow
def test_mindcv_has_no_biases_in_its_convolutions(run_program: Run, require_backend: Require) -> None:
    """MindCV has 5,504 parameters fewer than the paper's network, and takes 224 to 255 pixels only.

    Where our biases are zero, the two are equal up to the rounding of float32.
    """
    require_backend("mindspore")
    result = run_program("mindspore", "vgg:mindcv_without_biases", 225)
    assert result["biases"] == 5_504
    assert result["mindcv_parameters"] == 143_667_240 - 5_504
    assert result["error"] <= 1e-5
