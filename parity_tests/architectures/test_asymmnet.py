"""AsymmNet's block worked by hand, since no package has it, and MobileNetV3, with which it shares its table, against
torchvision, Paddle and MindCV."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from parity_tests.support.packages import FILL
from repro.specs.asymmnet import asymmnet

Run = Callable[[str, str], str]
Require = Callable[[str], None]


@pytest.mark.parametrize("width", [0.35, 0.5, 0.75, 1.0])
def test_the_first_block_keeps_its_shortcut_at_every_width(width: float) -> None:
    """In the authors' MXNet code it loses it at widths up to 0.5."""
    block = asymmnet("large", width=width).stages[0][0]
    assert block.residual
    assert block.channels_in == (16 if width > 0.5 else 8)


def test_bottleneck_worked_by_hand(backend: str, run_in: Run) -> None:
    """One pixel of 1, expanded to 2 and 3; the projection counts in tens, so that its digits spell the order: a copy
    (1), what was expanded (2, 3), a copy (1), and the shortcut adds 1."""
    run_in(backend, f"""
from dataclasses import replace
import numpy as np
from backends.{backend} import create_model, forward, load_weights
from repro.specs import find_spec
from repro.specs.asymmnet import Bottleneck
for rate, expected in ((0, 32 + 1), (1, 1321 + 1), (2, 113211 + 1)):
    block = Bottleneck(1, 2 + rate, 1, kernel=3, stride=1, squeeze=0, activation="relu", asymmrate=rate)
    assert (block.pointwise, block.depthwise) == (2, 2 + 2 * rate)
    spec = replace(find_spec("asymmnet_small", in_channels=1, num_classes=1), stem=1, stages=((block,),))
    arrays = {{}}
    for name, weight in spec.weights.items():
        value = {{"norm_scale": 1, "norm_var": 1 - spec.norm_eps}}.get(weight.kind, 0)
        arrays[name] = np.full(weight.shape, value, np.float32)
    arrays["stem.norm.bias"][:] = (33**0.5 - 3) / 2  # where hard-swish, x * (x + 3) / 6, is 1
    arrays["stages.0.0.expand.conv.weight"][:, 0, 0, 0] = 2, 3
    arrays["stages.0.0.depthwise.conv.weight"][:, :, 1, 1] = 1
    arrays["stages.0.0.project.conv.weight"][0, :, 0, 0] = 10 ** np.arange(block.depthwise)
    model = create_model(spec)
    load_weights(model, arrays)
    outputs = forward(model, np.ones((1, 1, 1, 1), np.float32))
    assert abs(outputs["stem"].item() - 1) < 1e-5
    assert abs(outputs["stages.0.0"].item() / expected - 1) < 1e-4, (rate, outputs["stages.0.0"])
""")  # fmt: skip


COMPARE = """
import numpy as np
from repro.weights.init import random_weights
def difference(ours, them, height, width):
    x = np.random.default_rng(height).standard_normal((1, 3, height, width))
    a, b = ours(x), them(x)
    assert a.shape == b.shape == (1, 7)
    return np.abs(a - b).max() / np.abs(b).max()
"""


def test_mobilenet_v3_equals_torchvision(run_in: Run, require_backend: Require) -> None:
    """At every width, in float64, epsilon, momentum and dropout included."""
    require_backend("torch")
    run_in("torch", COMPARE + """
import torch
from torchvision.models import mobilenetv3
from backends.torch import create_model, load_weights
for size, width in [(size, width) for size in ("large", "small") for width in (0.35, 0.5, 0.75, 1.0)]:
    ours = create_model(f"mobilenet_v3_{size}", width=width, num_classes=7)
    setting, last = mobilenetv3._mobilenet_v3_conf(f"mobilenet_v3_{size}", width_mult=width)
    theirs = mobilenetv3.MobileNetV3(setting, last, num_classes=7)
    arrays = random_weights(ours.spec, 3)
    load_weights(ours, arrays)
    own = {name: tensor for name, tensor in theirs.state_dict().items() if not name.endswith("num_batches_tracked")}
    assert len(own) == len(arrays)
    for (key, target), (name, array) in zip(own.items(), arrays.items()):  # both in the order of the forward pass
        array = array[:, :, 0, 0] if name == "hidden.weight" else array  # theirs is a linear layer
        assert tuple(target.shape) == array.shape, (key, name)
        target.copy_(torch.from_numpy(array))
    run = lambda model: lambda x: model.double().eval()(torch.from_numpy(x)).detach().numpy()
    for shape in ((64, 64), (65, 47)):
        assert difference(run(ours), run(theirs), *shape) < 1e-12, (size, width, shape)
    assert theirs.classifier[2].p == ours.spec.dropout
    norm = theirs.features[0][1]
    assert (norm.eps, norm.momentum) == (ours.spec.norm_eps, ours.spec.norm_momentum)
""")  # fmt: skip


def test_mobilenet_v3_equals_paddle_but_for_its_hard_sigmoid(run_in: Run, require_backend: Require) -> None:
    """Paddle's has a slope of 0.1666667, in place of a sixth. The rest in float64."""
    require_backend("paddle")
    run_in("paddle", COMPARE + """
import paddle
from paddle.vision.models import mobilenetv3
from backends.paddle import create_model, load_weights
from backends.paddle.layers import HardSigmoid
from backends.paddle.native_weights import NAMES
paddle.set_default_dtype("float64")
for size, width in (("large", 0.35), ("small", 0.75)):
    ours = create_model(f"mobilenet_v3_{size}", width=width, num_classes=7)
    theirs = getattr(mobilenetv3, f"mobilenet_v3_{size}")(scale=width, num_classes=7)
    arrays = random_weights(ours.spec, 3)
    load_weights(ours, arrays)
    own, native = theirs.state_dict(), NAMES.to_native(arrays, ours.spec.weights)
    assert len(own) == len(native)
    for (key, target), (name, array) in zip(own.items(), native.items()):  # both in the order of the forward pass
        array = array[:, :, 0, 0].T if name == "hidden.weight" else array  # theirs is a linear layer
        assert key.rpartition(".")[2] == name.rpartition(".")[2] and tuple(target.shape) == array.shape, (key, name)
        target.set_value(array.astype(np.float64))
    ours.eval(), theirs.eval()
    run = lambda model: lambda x: model(paddle.to_tensor(x)).numpy()
    assert 1e-10 < difference(run(ours), run(theirs), 64, 64) < 1e-5, (size, width)
    for layer in theirs.sublayers():
        if isinstance(layer, mobilenetv3.SqueezeExcitation):
            layer.scale_activation = HardSigmoid()
    for shape in ((64, 64), (65, 47)):
        assert difference(run(ours), run(theirs), *shape) < 1e-12, (size, width, shape)
""")  # fmt: skip


def test_mobilenet_v3_equals_mindcv_but_for_its_epsilon_and_padding(run_in: Run, require_backend: Require) -> None:
    """MindCV's epsilon is 1e-5, and its depthwise convolutions pad as TensorFlow does, which parts from ours at even
    maps: 66 and 33 are odd behind the first convolution. 1e-5 is a hundred roundings of float32."""
    require_backend("mindspore")
    run_in("mindspore", COMPARE + FILL + """
from dataclasses import replace
from mindspore import Tensor, nn
from mindcv.models.mobilenetv3 import MobileNetV3
from backends.mindspore import create_model, load_weights
from repro.specs import find_spec
run = lambda model: lambda x: model.set_train(False)(Tensor(x.astype(np.float32))).asnumpy()
for size, width in (("large", 0.35), ("small", 0.75)):
    spec = find_spec(f"mobilenet_v3_{size}", width=width, num_classes=7)
    theirs = MobileNetV3(size, alpha=width, num_classes=7)
    arrays = random_weights(spec, 3)
    layers = [cell for _, cell in theirs.cells_and_names() if isinstance(cell, (nn.Conv2d, nn.BatchNorm2d, nn.Dense))]
    fill(layers, spec, arrays | {"hidden.weight": arrays["hidden.weight"][:, :, 0, 0]})  # theirs is a linear layer
    ours, equal = create_model(spec), create_model(replace(spec, norm_eps=1e-5))
    load_weights(ours, arrays)
    load_weights(equal, arrays)
    assert difference(run(ours), run(theirs), 66, 33) > 1e-4, (size, width)
    assert difference(run(equal), run(theirs), 66, 33) < 1e-5, (size, width)
    assert difference(run(equal), run(theirs), 64, 33) > 1e-4, (size, width)
""")  # fmt: skip
