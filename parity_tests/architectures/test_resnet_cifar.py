"""Residual networks for CIFAR: counts, additions of shortcut and branch by hand, and training steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from repro.errors import ReproError
from repro.interface.discovery import SHIPPED
from repro.specs import CATALOGUE, find_spec
from repro.specs.resnet_cifar import resnet_cifar
from repro.weights.init import initialise

Run = Callable[..., Any]
Require = Callable[[str], None]

# name, options: parameters, millions of MACs at 32 pixels, elements of running statistics
COUNTED = [
    ("resnet110_cifar", {}, 1_727_962, 252.89, 8_096),
    ("resnet110_cifar_scaled", {}, 1_727_962, 252.89, 8_096),
    ("resnet110_cifar_scaled_shortcut", {}, 1_727_962, 252.89, 8_096),
    ("resnet110_cifar_exclusive_gating", {}, 1_727_962 + 93_568, 266.52, 8_096),
    ("resnet110_cifar_shortcut_gating", {}, 1_727_962 + 93_568, 266.52, 8_096),
    ("resnet110_cifar_conv1x1", {}, 1_727_962 + 95_488, 266.52, 11_936),
    ("resnet110_cifar_dropout", {}, 1_727_962, 252.89, 8_096),
    ("resnet110_cifar_bn_after", {}, 1_727_962, 252.89, 8_096),
    ("resnet110_cifar_relu_before", {}, 1_727_962, 252.89, 8_096),
    ("resnet110_cifar_relu_preact", {}, 1_727_962, 252.89, 8_096),
    ("resnet110_cifar_full_preact", {}, 1_727_962, 252.89, 8_096),
    ("resnet164_cifar", {}, 1_703_258, 244.50, 24_224),
    ("resnet164_cifar", {"activation": "original"}, 1_704_154, 244.50, 25_120),
    ("resnet164_cifar", {"num_classes": 100}, 1_726_388, 244.52, 24_224),
    ("resnet1001_cifar", {}, 10_327_706, 1487.85, 149_216),
    ("resnet1001_cifar", {"activation": "original"}, 10_328_602, 1487.85, 150_112),
    ("resnet1001_cifar", {"num_classes": 100}, 10_350_836, 1487.87, 149_216),
]


@pytest.mark.parametrize(("name", "options", "params", "macs", "statistics"), COUNTED)
def test_parameters_and_macs(name: str, options: dict, params: int, macs: float, statistics: int) -> None:
    spec = find_spec(name, **options)
    running = sum(weight.size for weight in spec.weights.values() if weight.kind in ("norm_mean", "norm_var"))
    assert (spec.params, round(spec.macs / 1e6, 2), running) == (params, macs, statistics)


def test_every_variant_is_counted() -> None:
    assert {name for name in CATALOGUE if "cifar" in name} == {row[0] for row in COUNTED}


def test_the_papers_parameters_exclude_normalisation() -> None:
    """The paper's 10.2 and 1.7 million are the weights of convolutions and of the classifier."""
    for name, published in (("resnet1001_cifar", 10_178_490), ("resnet164_cifar", 1_679_034)):
        weights = find_spec(name).weights.values()
        assert sum(weight.size for weight in weights if weight.kind in ("conv", "linear", "bias")) == published


def test_52_of_54_shortcuts_have_a_gate() -> None:
    weights = find_spec("resnet110_cifar_shortcut_gating").weights
    assert sum(name.endswith("gate.weight") for name in weights) == 52
    assert not any(name.startswith(("stages.1.0.addition", "stages.2.0.addition")) for name in weights)


def test_gates_start_nearly_closed() -> None:
    arrays = initialise(resnet_cifar(depth=14, block="basic", shortcut="exclusive_gating"), 0)
    assert (arrays["stages.0.0.addition.gate.bias"] == -6).all()
    assert (arrays["classifier.bias"] == 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 111}, r"depth must be 6n \+ 2 with basic units, from 8 to 1202, not 111"),
        ({"depth": 2}, "depth must be 6n"),
        ({"depth": 1208}, "depth must be 6n"),
        ({"depth": 110.0}, "depth must be 6n"),
        ({"depth": 164, "block": "bottleneck", "num_classes": 0}, "num_classes must be"),
        ({"depth": 1001}, "depth must be 6n"),
        ({"block": "bottleneck", "depth": 111}, r"depth must be 9n \+ 2 with bottleneck units, from 11 to"),
        ({"block": "botleneck"}, "unknown block 'botleneck': did you mean bottleneck"),
        ({"block": ["basic"]}, "unknown block"),
        ({"activation": "full"}, "unknown activation 'full'"),
        ({"activation": 1}, "unknown activation 1"),
        ({"shortcut": "gating"}, "unknown shortcut 'gating'"),
        (
            {"shortcut": "conv1x1", "activation": "bn_after"},
            "shortcut conv1x1 is defined for the original activation only",
        ),
    ],
)
def test_bad_option(options: dict, message: str) -> None:
    with pytest.raises(ReproError, match=message):
        find_spec("resnet110_cifar", **options)


@pytest.mark.parametrize(("depth", "block"), [(8, "basic"), (1202, "basic"), (11, "bottleneck"), (1199, "bottleneck")])
def test_any_depth(depth: int, block: str) -> None:
    spec = find_spec("resnet110_cifar", depth=depth, block=block)
    convs = sum(op.kind != "norm" and ".match" not in op.name for op in spec.trace().operators)
    assert convs == depth


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


X = np.array([[[[1, -2]], [[3, 0.5]]]])  # one image, two channels, one row of two pixels
BRANCH = np.array([[[[10, 20]], [[30, 40]]]])
# the gate of the first channel sees the second channel, and that of the second channel sees nothing
GATE = {"gate.weight": [[0, 1], [0, 0]], "gate.bias": [-1, -6]}
OPENING = sigmoid(np.array([[[[3 - 1, 0.5 - 1]], [[-6, -6]]]]))
SWAP = {"conv1x1.conv.weight": [[0, 1], [1, 0]]}  # swaps the two channels


@pytest.mark.parametrize(
    ("shortcut", "weights", "expected"),
    [
        ("original", {}, [[[[11, 18]], [[33, 40.5]]]]),
        ("scaled", {}, [[[[5.5, 9]], [[16.5, 20.25]]]]),
        ("scaled_shortcut", {}, [[[[10.5, 19]], [[31.5, 40.25]]]]),
        ("exclusive_gating", GATE, (1 - OPENING) * X + OPENING * BRANCH),
        ("shortcut_gating", GATE, (1 - OPENING) * X + BRANCH),
        ("conv1x1", SWAP, X[:, ::-1] / np.sqrt(1 + 1e-5) + BRANCH),
        ("dropout", {}, X + BRANCH),
    ],
    ids=["original", "scaled", "scaled_shortcut", "exclusive_gating", "shortcut_gating", "conv1x1", "dropout"],
)
def test_additions_worked_by_hand(
    backend: str, shortcut: str, weights: dict, expected: np.ndarray, run_program: Run
) -> None:
    case = (shortcut, X.tolist(), BRANCH.tolist(), weights)
    output = np.array(run_program(backend, "resnet_cifar:addition", backend, *case))
    assert output.shape == X.shape
    assert np.abs(output - expected).max() < 1e-5


def test_dropout_on_the_shortcut(backend: str, run_program: Run) -> None:
    """Training drops half of the shortcut and doubles the rest."""
    values = np.array(run_program(backend, "resnet_cifar:dropped_additions", backend))
    assert set(np.unique(values)) == {10, 12}
    assert 0.45 < (values == 12).mean() < 0.55


def test_shortcut_that_pads_channels(backend: str, run_program: Run) -> None:
    """Option A keeps every second row and column, and appends channels of zeros."""
    x = np.arange(24).reshape(1, 2, 3, 4)
    zeros = [[0, 0], [0, 0]]
    output = run_program(backend, "resnet_cifar:padded_channels", backend, x.tolist())
    assert output == [[[[0, 2], [8, 10]], [[12, 14], [20, 22]], zeros, zeros]]


@pytest.mark.slow
@pytest.mark.parametrize(
    "option",
    [
        *({"activation": name} for name in ("original", "bn_after", "full_preact")),
        *({"shortcut": name} for name in ("exclusive_gating", "conv1x1")),
    ],
    ids=lambda option: "_".join(option.values()),
)
def test_variants_train_alike(option: dict[str, str], run_program: Run, require_backend: Require) -> None:
    """Losses of three steps on the same images; MindSpore compiles its steps."""
    options, settings = {"depth": 8, **option}, {"momentum": 0.9, "weight_decay": 1e-4}
    losses = {}
    for backend in SHIPPED:
        require_backend(backend)
        case = ("resnet110_cifar", options, settings, [8, 3, 9, 8], 0.02, 3)
        losses[backend] = run_program(backend, "training_steps:losses", backend, *case)
    expected = losses["torch"]
    assert expected[2] < expected[0]
    for backend in ("paddle", "mindspore"):
        assert np.allclose(losses[backend], expected, rtol=1e-4), (backend, losses[backend], expected)
