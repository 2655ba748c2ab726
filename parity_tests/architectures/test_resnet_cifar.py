"""The residual networks for CIFAR: counts, the ways of adding worked by hand, the units as the paper draws them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from repro.errors import ReproError
from repro.interface.discovery import SHIPPED
from repro.specs import CATALOGUE, find_spec
from repro.specs.resnet_cifar import ACTIVATIONS, resnet_cifar
from repro.weights import safetensors_file
from repro.weights.init import initialise

Run = Callable[[str, str], str]
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


def test_the_papers_parameters_leave_normalisation_out() -> None:
    """10.2 and 1.7 million: weights of convolutions and of the classifier."""
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


ADDITIONS = """
import numpy as np
import {backend}
from backends.{backend}.models.resnet_cifar import Addition, PadChannels
from repro.specs import find_spec
def array(y):
    return y.asnumpy() if hasattr(y, "asnumpy") else y.detach().numpy()
def run(module, *inputs, training=False):
    if hasattr(module, "set_train"):
        module.set_train(training)
    else:
        module.train() if training else module.eval()
    return array(module(*map({tensor}, inputs)))
def fill(parameter, values):
    values = np.asarray(values, np.float32).reshape(parameter.shape)
    if hasattr(parameter, "set_data"):
        parameter.set_data({tensor}(values))
    elif hasattr(parameter, "set_value"):
        parameter.set_value(values)
    else:
        parameter.data = {tensor}(values)
spec = find_spec("resnet110_cifar_dropout")
x = np.float32([[[[1, -2]], [[3, 0.5]]]])  # one image, two channels, one row of two
branch = np.float32([[[[10, 20]], [[30, 40]]]])
def expect(way, expected, prepare=lambda module: None):
    module = Addition(spec, way, 2)
    prepare(module)
    assert np.abs(run(module, x, branch) - expected).max() < 1e-5, way
def gate(module):  # the first channel's gate sees the second channel; the second's sees nothing
    fill(module.gate.weight, [[0, 1], [0, 0]])
    fill(module.gate.bias, [-1, -6])
def swap(module):
    fill(module.conv1x1.conv.weight, [[0, 1], [1, 0]])
g = 1 / (1 + np.exp(-np.array([[[[3 - 1, 0.5 - 1]], [[-6, -6]]]])))
expect("original", [[[[11, 18]], [[33, 40.5]]]])
expect("scaled", [[[[5.5, 9]], [[16.5, 20.25]]]])
expect("scaled_shortcut", [[[[10.5, 19]], [[31.5, 40.25]]]])
expect("exclusive_gating", (1 - g) * x + g * branch, gate)
expect("shortcut_gating", (1 - g) * x + branch, gate)
expect("conv1x1", x[:, ::-1] / np.sqrt(1 + 1e-5) + branch, swap)
expect("dropout", x + branch)
# in training, half of the shortcut is left out and the rest doubled
x = np.ones((4, 2, 32, 32), np.float32)
dropped = run(Addition(spec, "dropout", 2), x, 10 * x, training=True)
assert set(np.unique(dropped)) == {{10, 12}} and 0.45 < (dropped == 12).mean() < 0.55
# option A: every second position, and zeros behind the channels
x = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
zeros = [[0, 0], [0, 0]]
assert (run(PadChannels(2, 2), x)[0] == [[[0, 2], [8, 10]], [[12, 14], [20, 22]], zeros, zeros]).all()
"""
TENSOR = {"torch": "torch.from_numpy", "paddle": "paddle.to_tensor", "mindspore": "mindspore.Tensor"}


def test_ways_of_adding_worked_by_hand(run_in: Run, backend: str) -> None:
    run_in(backend, ADDITIONS.format(backend=backend, tensor=TENSOR[backend]))


Array = np.ndarray


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


class Unit:
    """The layers of one basic unit in NumPy."""

    def __init__(self, arrays: dict[str, Array], prefix: str):
        self.arrays, self.prefix = arrays, prefix

    def conv(self, x: Array, place: int, stride: int = 1) -> Array:
        weight = self.arrays[f"{self.prefix}branch.{place}.conv.weight"].astype(np.float64)
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

    def norm(self, x: Array, where: str) -> Array:
        scale, shift, mean, var = (
            self.arrays[f"{self.prefix}{where}.norm.{leaf}"].astype(np.float64)[:, None, None]
            for leaf in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / np.sqrt(var + 1e-5) * scale + shift


def halved(x: Array) -> Array:
    """The shortcut of a unit that halves the map and doubles the channels: option A."""
    x = x[:, :, ::2, ::2]
    return np.concatenate([x, np.zeros_like(x)], 1)


def original(u: Unit, x: Array, stride: int, first: bool) -> Array:  # Figure 4(a)
    y = u.norm(u.conv(relu(u.norm(u.conv(x, 0, stride), "branch.0")), 1), "branch.1")
    return relu((halved(x) if stride == 2 else x) + y)


def bn_after(u: Unit, x: Array, stride: int, first: bool) -> Array:  # (b)
    y = u.conv(relu(u.norm(u.conv(x, 0, stride), "branch.0")), 1)
    return relu(u.norm((halved(x) if stride == 2 else x) + y, "after"))


def relu_before(u: Unit, x: Array, stride: int, first: bool) -> Array:  # (c)
    y = relu(u.norm(u.conv(relu(u.norm(u.conv(x, 0, stride), "branch.0")), 1), "branch.1"))
    return (halved(x) if stride == 2 else x) + y


def relu_preact(u: Unit, x: Array, stride: int, first: bool) -> Array:  # (d)
    a = relu(x)
    y = u.norm(u.conv(relu(u.norm(u.conv(a, 0, stride), "branch.0")), 1), "branch.1")
    x = a if first else x
    return (halved(x) if stride == 2 else x) + y


def full_preact(u: Unit, x: Array, stride: int, first: bool) -> Array:  # (e)
    a = relu(u.norm(x, "before"))
    y = u.conv(relu(u.norm(u.conv(a, 0, stride), "branch.0")), 1)
    x = a if first else x
    return (halved(x) if stride == 2 else x) + y


UNITS = {"original": original, "bn_after": bn_after, "relu_before": relu_before, "relu_preact": relu_preact,
         "full_preact": full_preact}  # fmt: skip
assert set(UNITS) == set(ACTIVATIONS)

STAGES = """
import numpy as np
from backends.torch import create_model, forward, load_weights, to_float64
from repro.weights import safetensors_file
from repro.weights.init import random_weights
for activation in {activations}:
    model = create_model("resnet110_cifar", depth=14, activation=activation, num_classes=10)
    arrays = random_weights(model.spec, 1)
    load_weights(model, arrays)
    x = np.random.default_rng(0).standard_normal((2, 3, 7, 9))
    double = to_float64(lambda: create_model(model.spec))
    load_weights(double, arrays)
    outputs = forward(double, x)
    stages = {{"stage/" + name: y for name, y in outputs.items()}}
    safetensors_file.save(f"{folder}/{{activation}}.safetensors", arrays | stages)
"""


def test_units_as_the_paper_draws_them(run_in: Run, require_backend: Require, tmp_path: Path) -> None:
    """Each unit's output from its input, in torch's float64 and in NumPy, for the five orders of Figure 4."""
    require_backend("torch")
    run_in("torch", STAGES.format(activations=list(ACTIVATIONS), folder=tmp_path))
    for activation, unit in UNITS.items():
        arrays, _ = safetensors_file.load(tmp_path / f"{activation}.safetensors")
        x = arrays["stage/stem"]
        assert (x.min() < 0) == (activation in ("relu_preact", "full_preact"))
        for name in ("stages.0.0", "stages.0.1", "stages.1.0", "stages.1.1", "stages.2.0", "stages.2.1"):
            first = name.endswith(".0")
            expected = unit(Unit(arrays, f"{name}."), x, 2 if first and name != "stages.0.0" else 1, first)
            x = arrays[f"stage/{name}"]
            assert np.abs(x - expected).max() <= 1e-12 * np.abs(expected).max(), (activation, name)
        last = arrays["stage/last"]
        logits = last.mean((2, 3)) @ arrays["classifier.weight"].T.astype(np.float64) + arrays["classifier.bias"]
        assert np.abs(logits - arrays["stage/logits"]).max() <= 1e-12 * np.abs(logits).max()
        if activation == "full_preact":
            x = Unit(arrays, "").norm(x, "last")
        assert np.abs(last - (relu(x) if activation.endswith("preact") else x)).max() <= 1e-12 * np.abs(last).max()


STEPS = """
import json
import numpy as np
from backends.{backend} import create_model, create_trainer
from repro.interface import TrainSettings
from repro.specs import find_spec
from repro.weights.init import initialise
rng = np.random.default_rng(0)
images, labels = rng.standard_normal((8, 3, 9, 8)).astype(np.float32), np.arange(8)
losses = {{}}
for options in {options}:
    spec = find_spec("resnet110_cifar", depth=8, **options)
    trainer = create_trainer(create_model(spec), TrainSettings(momentum=0.9, weight_decay=1e-4))
    trainer.load_weights(initialise(spec, 0))
    losses[str(options)] = [float(trainer.step(images, labels, 0.02)[0]) for _ in range(3)]
print(json.dumps(losses))
"""


def test_variants_train_alike(run_in: Run, require_backend: Require) -> None:
    """Losses of three steps on the same images, in MindSpore as a compiled graph."""
    options = [{"activation": name} for name in ("original", "bn_after", "full_preact")]
    options += [{"shortcut": name} for name in ("exclusive_gating", "conv1x1")]
    losses = {}
    for name in SHIPPED:
        require_backend(name)
        lines = run_in(name, STEPS.format(backend=name, options=options)).splitlines()
        losses[name] = json.loads(lines[-1])
    for key, expected in losses["torch"].items():
        assert expected[2] < expected[0], key
        for name in ("paddle", "mindspore"):
            assert np.allclose(losses[name][key], expected, rtol=1e-4), (name, key, losses[name][key], expected)
