"""MobileNetV2 against the counted figures and against torchvision, Paddle and MindCV."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from parity_tests.support.packages import FILL
from repro.errors import ReproError
from repro.interface.discovery import SHIPPED
from repro.specs import CATALOGUE, find_spec
from repro.specs.mobilenet_v2 import InvertedResidual, mobilenet_v2

Run = Callable[[str, str], str]
Require = Callable[[str], None]

# name: width, parameters, millions of MACs. Width 1 as counted in three packages; test_equals_torchvision compares the
# others' parameters one by one
COUNTED = {
    "mobilenet_v2": (1.0, 3_504_872, 300.77),
    "mobilenet_v2_x1_4": (1.4, 6_108_776, 582.20),
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


def test_head_does_not_shrink() -> None:
    assert [mobilenet_v2(width=width).last for width in (0.35, 0.75, 1, 1.4)] == [1280, 1280, 1280, 1792]


def test_rounding_of_channels() -> None:
    """0.35 * 32 = 11.2 would lose more than a tenth as 8."""
    spec = mobilenet_v2(width=0.35)
    assert spec.stem == 16
    assert [stage[-1].channels_out for stage in spec.stages] == [8, 8, 16, 24, 32, 56, 112]


def test_sizes_of_the_maps() -> None:
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
        ({"in_channels": 0}, "in_channels must be a whole number"),
        ({"drop_path": 0.1}, "unknown option of mobilenet_v2"),
    ],
)
def test_bad_option(options: dict, message: str) -> None:
    with pytest.raises(ReproError, match=message):
        find_spec("mobilenet_v2", **options)


COMPARE = """
import numpy as np
from repro.specs import find_spec
from repro.weights.init import random_weights
shapes = (2, 3, 64, 64), (1, 3, 65, 47), (1, 3, 1, 1)
images = [np.random.default_rng(i).standard_normal(shape) for i, shape in enumerate(shapes)]
def compare(ours, them, tolerance):
    for x in images:
        a, b = ours(x), them(x)
        assert a.shape == b.shape == (len(x), 7)
        assert np.abs(a - b).max() <= tolerance * np.abs(b).max(), (x.shape, np.abs(a - b).max() / np.abs(b).max())
"""


def test_equals_torchvision(run_in: Run, require_backend: Require) -> None:
    """In float64."""
    require_backend("torch")
    run_in("torch", COMPARE + f"""
import torch, torchvision
from backends.torch import create_model, load_weights
for width in {WIDTHS}:
    ours = create_model("mobilenet_v2", width=width, num_classes=7)
    theirs = torchvision.models.mobilenet_v2(width_mult=width, num_classes=7)
    arrays = random_weights(ours.spec, 3)
    load_weights(ours, arrays)
    own = {{name: tensor for name, tensor in theirs.state_dict().items() if not name.endswith("num_batches_tracked")}}
    assert len(own) == len(arrays)
    for target, array in zip(own.values(), arrays.values()):  # both in the order of the forward pass
        assert tuple(target.shape) == array.shape
        target.copy_(torch.from_numpy(array))
    run = lambda model: lambda x: model.double().eval()(torch.from_numpy(x)).detach().numpy()
    compare(run(ours), run(theirs), 1e-12)
    assert theirs.classifier[0].p == ours.spec.dropout == ours.dropout.p
    norm = theirs.features[0][1]
    assert (norm.eps, norm.momentum) == (ours.spec.norm_eps, ours.spec.norm_momentum)
""")  # fmt: skip


def test_equals_paddle(run_in: Run, require_backend: Require) -> None:
    """In float64, but for the epsilon of the normalisations, which Paddle keeps in float32."""
    require_backend("paddle")
    run_in("paddle", COMPARE + """
import paddle
from backends.paddle import create_model, load_weights
from backends.paddle.native_weights import NAMES
paddle.set_default_dtype("float64")
ours = create_model("mobilenet_v2", width=0.35, num_classes=7)
theirs = paddle.vision.models.mobilenet_v2(scale=0.35, num_classes=7)
arrays = random_weights(ours.spec, 3)
load_weights(ours, arrays)
own, native = theirs.state_dict(), NAMES.to_native(arrays, ours.spec.weights)
assert len(own) == len(native)
for (key, target), (name, array) in zip(own.items(), native.items()):  # both in the order of the forward pass
    assert key.rpartition(".")[2] == name.rpartition(".")[2] and tuple(target.shape) == array.shape, (key, name)
    target.set_value(array.astype(np.float64))
ours.eval(), theirs.eval()
run = lambda model: lambda x: model(paddle.to_tensor(x)).numpy()
compare(run(ours), run(theirs), 1e-12)
""")  # fmt: skip


def test_equals_mindcv(run_in: Run, require_backend: Require) -> None:
    """1e-5 is a hundred roundings of float32, for some fifty layers."""
    require_backend("mindspore")
    run_in("mindspore", COMPARE + FILL + """
from mindspore import Tensor, nn
from mindcv.models.mobilenetv2 import MobileNetV2
from backends.mindspore import create_model, load_weights
ours = create_model("mobilenet_v2", width=0.35, num_classes=7)
theirs = MobileNetV2(alpha=0.35, num_classes=7)
arrays = random_weights(ours.spec, 3)
load_weights(ours, arrays)
layers = [cell for _, cell in theirs.cells_and_names() if isinstance(cell, (nn.Conv2d, nn.BatchNorm2d, nn.Dense))]
fill(layers, ours.spec, arrays)
run = lambda model: lambda x: model.set_train(False)(Tensor(x.astype(np.float32))).asnumpy()
compare(run(ours), run(theirs), 1e-5)
""")  # fmt: skip


def test_a_training_step_agrees(run_in: Run, require_backend: Require) -> None:
    """Losses of two steps, of which the second sees all weights changed; a compiled graph in MindSpore. The step is
    small because float32 loses half a percent of these gradients: a ReLU6 that flips changes all layers below it."""
    losses = {}
    for name in SHIPPED:
        require_backend(name)
        losses[name] = json.loads(run_in(name, f"""
import json
import numpy as np
from backends.{name} import create_model, create_trainer
from repro.interface import TrainSettings
from repro.weights.init import initialise
model = create_model("mobilenet_v2", width=0.35, num_classes=4, in_channels=1, dropout=0.0)
trainer = create_trainer(model, TrainSettings(momentum=0.9, weight_decay=0.0))
trainer.load_weights(initialise(model.spec, 0))
images = np.random.default_rng(0).standard_normal((8, 1, 64, 64)).astype(np.float32)
print(json.dumps([trainer.step(images, np.arange(8) % 4, 1e-4)[0] for _ in range(2)]))
""").splitlines()[-1])  # fmt: skip
    for name, pair in losses.items():
        assert pair == pytest.approx(losses["torch"], rel=2e-4), name
        assert pair[1] < pair[0] - 0.05, name
