"""ShuffleNet V2: published figures, operators worked by hand, and the networks of three packages."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from parity_tests.support.packages import FILL
from repro.errors import ReproError
from repro.specs import CATALOGUE, find_spec
from repro.specs.shufflenet_v2 import Unit, shufflenet_v2
from repro.weights.init import initialise

Run = Callable[[str, str], str]

# name: parameters, millions of MACs; counted in the authors' code and in torchvision
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
def test_the_papers_macs_are_the_authors_structures(width: float, published: int) -> None:
    """At width 0.5 the two cost the same: 24 channels are half of 48."""
    assert round(shufflenet_v2("authors", width=width).macs / 1e6) == published
    assert round(shufflenet_v2("torchvision", width=width).macs / 1e6) < published


def test_units_worked_by_hand() -> None:
    """24 -> 116 channels: the authors keep the 24 and compute 92 beside them, torchvision makes 58 and 58."""
    authors, torchvision = shufflenet_v2("authors").stages[0], shufflenet_v2("torchvision").stages[0]
    assert [len(stage) for stage in shufflenet_v2("authors").stages] == [4, 8, 4]
    assert authors[0] == Unit(24, 116, stride=2, shortcut=24)
    assert (authors[0].branch_in, authors[0].middle, authors[0].branch_out) == (24, 58, 92)
    assert torchvision[0] == Unit(24, 116, stride=2, shortcut=58)
    assert (torchvision[0].branch_in, torchvision[0].middle, torchvision[0].branch_out) == (24, 58, 58)
    assert authors[1] == torchvision[1] == Unit(116, 116, stride=1, shortcut=58)
    assert (authors[1].branch_in, authors[1].middle, authors[1].branch_out) == (58, 58, 58)


def test_dropout_is_in_the_authors_widest_network_alone() -> None:
    assert {name for name in COUNTED if find_spec(name).dropout} == {"shufflenet_v2_x2_0"}
    assert find_spec("shufflenet_v2_x2_0").dropout == 0.2


def test_the_classifier_has_a_bias_in_torchvision_alone() -> None:
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


def test_initialisation_is_that_of_the_code() -> None:
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


NATIVE = {
    "torch": "import torch\nrun = lambda m, x: m.eval()(torch.from_numpy(x)).detach().numpy()",
    "paddle": "import paddle\ndef run(m, x):\n    m.eval()\n    return m(paddle.to_tensor(x)).numpy()",
    "mindspore": "import mindspore\nrun = lambda m, x: m.set_train(False)(mindspore.Tensor(x)).asnumpy()",
}


def test_unit_worked_by_hand(backend: str, run_in: Run) -> None:
    """With convolutions that hand their inputs on, times 10 at the end of a branch, what is left are the split, the
    joining and the shuffle."""
    run_in(backend, f"""
{NATIVE[backend]}
import numpy as np
from dataclasses import replace
from backends.{backend} import create_model, forward, load_weights
from repro.specs import find_spec
from repro.specs.shufflenet_v2 import Unit

def unit(variant, block):
    spec = find_spec(variant, num_classes=2)
    model = create_model(replace(spec, stem=block.channels_in, stages=((block,),)))
    arrays = {{}}
    for name, weight in model.spec.weights.items():
        value = {{"norm_scale": 1, "norm_var": 1 - spec.norm_eps}}.get(weight.kind, 0)
        array = arrays[name] = np.full(weight.shape, value, np.float32)
        if weight.kind == "conv":
            out, inputs, kernel, _ = weight.shape
            array[range(out), np.arange(out) % inputs, kernel // 2, kernel // 2] = 10 if "branch.2" in name else 1
    load_weights(model, arrays)
    return model.stages[0][0]

x = np.arange(1, 7, dtype=np.float32).reshape(1, 6, 1, 1)
block = Unit(6, 6, stride=1, shortcut=3)
# the even channels pass, the odd ones go through the branch
y = run(unit("shufflenet_v2_x0_5", block), x).ravel()
assert np.allclose(y, [1, 3, 5, 20, 40, 60], rtol=1e-4), y
# the first half passes, the second goes through the branch; the two come out in turns
y = run(unit("shufflenet_v2_x0_5_torchvision", block), x).ravel()
assert np.allclose(y, [1, 40, 2, 50, 3, 60], rtol=1e-4), y

# 2 channels of 3x3 to 6 of 2x2: every other pixel, by the shortcut and by the branch
x = np.stack([np.arange(1, 10), np.arange(11, 20)]).astype(np.float32).reshape(1, 2, 3, 3)
picked = x[0, :, ::2, ::2]
y = run(unit("shufflenet_v2_x0_5", Unit(2, 6, stride=2, shortcut=2)), x)[0]
branch = 10 * picked[[0, 1, 0, 0]]  # two of three channels in the middle are the first, the fourth is the first again
assert np.allclose(y, np.concatenate([picked, branch]), rtol=1e-4), y
y = run(unit("shufflenet_v2_x0_5_torchvision", Unit(2, 6, stride=2, shortcut=3)), x)[0]
short = picked[[0, 1, 0]]
assert np.allclose(y, [short[0], 10 * short[0], short[1], 10 * short[1], short[2], 10 * short[2]], rtol=1e-4), y

# one pixel is enough, and sides need not be equal
model = create_model("shufflenet_v2_x0_5", num_classes=2, in_channels=1)
assert model.spec.min_size == 1
for height, width in ((1, 1), (33, 20)):
    outputs = forward(model, np.ones((2, 1, height, width), np.float32))
    assert outputs["logits"].shape == (2, 2)
    assert outputs["last"].shape == (2, 1024, -(-height // 32), -(-width // 32))
""")  # fmt: skip


def test_equals_torchvision(run_in: Run, require_backend: Callable[[str], None]) -> None:
    """In float64, all four. Both run through their weights in the same order."""
    require_backend("torch")
    run_in(
        "torch",
        """
import torch, torchvision
from backends.torch import create_model, load_weights
from repro.weights.init import random_weights
for width in ("x0_5", "x1_0", "x1_5", "x2_0"):
    ours = create_model(f"shufflenet_v2_{width}_torchvision")
    theirs = getattr(torchvision.models, f"shufflenet_v2_{width}")().eval()
    arrays = random_weights(ours.spec, 3)
    load_weights(ours, arrays)
    own = {key: value for key, value in theirs.state_dict().items() if not key.endswith("num_batches_tracked")}
    assert len(own) == len(arrays)
    for (key, target), (name, array) in zip(own.items(), arrays.items()):
        assert target.shape == array.shape, (key, name)
        target.copy_(torch.from_numpy(array))
    for size in (64, 33):
        x = torch.randn(2, 3, size, size, dtype=torch.float64)
        with torch.no_grad():
            a, b = ours.double().eval()(x), theirs.double()(x)
        assert (a - b).abs().max() <= 1e-12 * b.abs().max(), (width, size)
""",
    )


PADDLE = """
import numpy as np
import paddle
from backends.paddle import create_model, load_weights, to_float64
from repro.specs import shufflenet_v2
from repro.weights.init import random_weights

def pair(width):
    ours = create_model(f"shufflenet_v2_{width}_torchvision")
    paddle.set_default_dtype("float64")
    theirs = getattr(paddle.vision.models, f"shufflenet_v2_{width}")()
    paddle.set_default_dtype("float32")
    return ours, theirs

def difference(ours, theirs, size):
    \"\"\"On the same weights; both run through theirs in the same order.\"\"\"
    arrays, own = random_weights(ours.spec, 3), theirs.state_dict()
    load_weights(ours, arrays)
    assert len(own) == len(arrays)
    for (key, target), (name, array) in zip(own.items(), arrays.items()):
        array = array.T if ours.spec.weights[name].kind == "linear" else array
        assert tuple(target.shape) == array.shape, (key, name)
        target.set_value(array.astype(target.numpy().dtype))
    double = to_float64(lambda: create_model(ours.spec))
    load_weights(double, arrays)
    double.eval(), theirs.eval()
    x = paddle.to_tensor(np.random.default_rng(size).standard_normal((2, 3, size, size)))
    a, b = double(x).numpy(), theirs(x).numpy()
    assert a.dtype == b.dtype == np.float64
    return np.abs(a - b).max() / np.abs(b).max()
"""


def test_equals_paddle_vision_but_for_a_slip(run_in: Run, require_backend: Callable[[str], None]) -> None:
    """Its x2_0 has 224 channels for 244 in its second stage; with the same slip in our table the two are equal."""
    require_backend("paddle")
    run_in("paddle", PADDLE + """
assert difference(*pair("x0_5"), 64) <= 1e-12
ours, theirs = pair("x2_0")
assert ours.spec.params == 7_393_996
assert sum(parameter.size for parameter in theirs.parameters() if parameter.trainable) == 7_366_536
assert tuple(ours.stages[0][1].branch[0].conv.weight.shape) == (122, 122, 1, 1)
shapes = [tuple(parameter.shape) for parameter in theirs.parameters()]
assert (112, 112, 1, 1) in shapes and (122, 122, 1, 1) not in shapes
shufflenet_v2.CHANNELS[2.0] = (224, 488, 976, 2048)
assert difference(*pair("x2_0"), 33) <= 1e-12
""")  # fmt: skip


MINDCV = (
    FILL
    + """
import numpy as np
from mindspore import Tensor, nn
from mindcv.models import shufflenetv2
from backends.mindspore import create_model, load_weights
from repro.weights.init import random_weights

def pair(width):
    ours = create_model(f"shufflenet_v2_{width}")
    theirs = getattr(shufflenetv2, f"shufflenet_v2_{width}")()
    arrays = random_weights(ours.spec, 3)
    load_weights(ours, arrays)
    parts = [theirs.first_conv]
    for block in theirs.features:
        parts += [block.branch_main] if block.branch_proj is None else [block.branch_proj, block.branch_main]
    parts += [theirs.conv_last, nn.SequentialCell(theirs.classifier)]
    layers = [cell for part in parts for cell in part if not isinstance(cell, nn.ReLU)]
    fill(layers, ours.spec, arrays)
    return ours.set_train(False), theirs.set_train(False)

def difference(ours, theirs, side):
    x = Tensor(np.random.default_rng(side).standard_normal((2, 3, side, side)).astype(np.float32))
    a, b = ours(x).asnumpy(), theirs(x).asnumpy()
    return np.abs(a - b).max() / np.abs(b).max()
"""
)


def test_mindcv_is_the_authors_but_for_its_pooling(run_in: Run, require_backend: Callable[[str], None]) -> None:
    """pad_mode="same" moves the pooling by a pixel at even sizes; at odd ones it is the same. 1e-5 is a hundred
    roundings of float32, for some fifty layers."""
    require_backend("mindspore")
    run_in("mindspore", MINDCV + """
for width in ("x1_0", "x2_0"):
    ours, theirs = pair(width)
    assert not any(isinstance(cell, nn.Dropout) for _, cell in theirs.cells_and_names())  # x2_0 ought to have one
    assert difference(ours, theirs, 65) < 1e-5, width
    assert difference(ours, theirs, 64) > 1e-2, width
    theirs.max_pool = nn.MaxPool2d(3, 2, pad_mode="pad", padding=1)
    assert difference(ours, theirs, 64) < 1e-5, width
""")  # fmt: skip
