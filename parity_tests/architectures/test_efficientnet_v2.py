"""EfficientNetV2 against the counted figures; the article's network; cases worked by hand."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest

from repro.errors import ReproError
from repro.interface.discovery import SHIPPED
from repro.specs import CATALOGUE, Trace, find_spec
from repro.specs.efficientnet_v2 import Block, efficientnet_v2
from repro.weights.init import initialise

Run = Callable[[str, str], str]
Require = Callable[[str], None]

# size: parameters, millions of MACs at the evaluation size; counted in timm, torchvision, Keras and MindCV
COUNTED = {
    "b0": (7_139_704, 718.09),
    "b1": (8_141_052, 1_196.82),
    "b2": (10_096_086, 1_697.54),
    "b3": (14_358_406, 3_011.46),
    "s": (21_458_488, 8_365.62),
    "m": (54_139_356, 24_582.46),
    "l": (118_515_272, 56_079.70),
    "xl": (208_119_808, 93_353.45),
}


@pytest.mark.parametrize("suffix", ["", "_same"])
@pytest.mark.parametrize("size", COUNTED)
def test_parameters_and_macs(size: str, suffix: str) -> None:
    spec = find_spec(f"efficientnet_v2_{size}{suffix}")
    assert (spec.params, round(spec.macs / 1e6, 2)) == COUNTED[size]
    assert getattr(spec, "padding") == ("same" if suffix else None)  # noqa: B009


@pytest.mark.parametrize(
    ("size", "pixels", "macs"),
    [("s", 300, 5_307.56), ("s", 224, 2_849.90), ("m", 384, 15_736.78), ("l", 384, 35_899.42), ("xl", 384, 52_529.25)],
)
def test_macs_at_other_sizes(size: str, pixels: int, macs: float) -> None:
    operators = find_spec(f"efficientnet_v2_{size}_same").trace(pixels).operators
    assert round(sum(op.macs for op in operators) / 1e6, 2) == macs


def test_every_variant_is_counted() -> None:
    named = {f"efficientnet_v2_{size}{suffix}" for size in COUNTED for suffix in ("", "_same")}
    found = {name for name in CATALOGUE if name.startswith("efficientnet_v2")}
    assert found == named | {"efficientnet_v2_s_article"}


def test_article_counts() -> None:
    """With 1 channel and 10 classes, at 320x384; the paper's S of the same sizes has 343,928 parameters more."""
    spec = find_spec("efficientnet_v2_s_article", num_classes=10, in_channels=1)
    net = Trace()
    spec.walk(net, (1, 320, 384))
    assert (spec.params, round(sum(op.macs for op in net.operators) / 1e6, 2)) == (19_845_938, 6_918.33)
    paper = find_spec("efficientnet_v2_s", num_classes=10, in_channels=1)
    assert paper.params == 20_189_866
    head = (1280 - 128) * (256 + 2 + 10)
    squeeze = sum(weight.size for name, weight in paper.weights.items() if ".se." in name and name.endswith("bias"))
    assert (head, squeeze) == (308_736, 35_192)
    assert paper.params - spec.params == head + squeeze
    assert getattr(paper, "stages") == getattr(spec, "stages")  # noqa: B009


def test_blocks_worked_by_hand() -> None:
    stages = efficientnet_v2("s").stages
    assert [len(stage) for stage in stages] == [2, 4, 4, 6, 9, 15]
    assert stages[0][1] == Block(True, 24, 24, 24, stride=1, depth=1 / 40)
    assert stages[1][0] == Block(True, 24, 96, 48, stride=2, depth=2 / 40)
    assert stages[3][0] == Block(False, 64, 256, 128, stride=2, depth=10 / 40)
    assert stages[5][14] == Block(False, 256, 1536, 256, stride=1, depth=39 / 40)
    assert (stages[3][0].squeeze, stages[3][1].squeeze) == (16, 32)  # of the block's input
    assert [block.residual for block in stages[4][:2]] == [False, True]  # 128 -> 160 at stride 1, then 160 -> 160


def test_base_sizes_scale_width_and_depth() -> None:
    """b3: 16 * 1.2 = 19.2 becomes 16, which MobileNet's rounding would not allow."""
    assert [len(stage) for stage in efficientnet_v2("b1").stages] == [2, 3, 3, 4, 6, 9]
    b3 = efficientnet_v2("b3")
    assert (b3.stem, b3.head) == (40, 1536)
    assert [(stage[0].channels_out, len(stage)) for stage in b3.stages] == [
        (16, 2), (40, 3), (56, 3), (112, 5), (136, 7), (232, 12),
    ]  # fmt: skip
    assert efficientnet_v2("b2").head == 1408


@pytest.mark.parametrize("name", ["efficientnet_v2_s", "efficientnet_v2_s_same"])
def test_sizes_of_the_maps(name: str) -> None:
    spec = find_spec(name)
    stages = spec.trace().stages
    assert [stages[f"stages.{number}.0"][1] for number in range(6)] == [192, 96, 48, 24, 24, 12]
    assert stages["head"] == (1280, 12, 12)
    assert spec.min_size == 1


def test_settings_of_training() -> None:
    found = {size: efficientnet_v2(size) for size in COUNTED}
    assert {size: spec.dropout for size, spec in found.items()} == {
        "b0": 0.2, "b1": 0.2, "b2": 0.3, "b3": 0.3, "s": 0.2, "m": 0.3, "l": 0.4, "xl": 0.4,
    }  # fmt: skip
    assert {(spec.drop_path, spec.norm_eps, spec.norm_momentum) for spec in found.values()} == {(0.2, 1e-3, 0.1)}
    assert efficientnet_v2("l", dropout=0.0).dropout == 0


def test_initialisation_is_the_authors() -> None:
    arrays = initialise(find_spec("efficientnet_v2_b0", in_channels=1), 0)
    assert arrays["stem.conv.weight"].std() == pytest.approx((2 / (9 * 32)) ** 0.5, rel=0.15)  # (32, 1, 3, 3), dense
    # one filter for each channel; torchvision divides by the channels too, which starts these 26 times smaller
    assert arrays["stages.4.2.depthwise.conv.weight"].std() == pytest.approx((2 / 9) ** 0.5, rel=0.05)
    assert arrays["stages.4.2.expand.conv.weight"].std() == pytest.approx((2 / 672) ** 0.5, rel=0.02)
    limit = 1 / 1000**0.5
    assert 0.99 * limit < np.abs(arrays["classifier.weight"]).max() <= limit
    assert arrays["classifier.weight"].std() == pytest.approx(limit / 3**0.5, rel=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"padding": "valid"}, "unknown padding 'valid'"),
        ({"padding": "sam"}, "did you mean same"),
        ({"drop_path": 1}, "drop_path must be"),
        ({"dropout": -0.1}, "dropout must be"),
        ({"num_classes": 0}, "num_classes must be a whole number"),
        ({"width": 2}, "unknown option of efficientnet_v2_s"),
    ],
)
def test_bad_option(options: dict, message: str) -> None:
    with pytest.raises(ReproError, match=message):
        find_spec("efficientnet_v2_s", **options)


def test_bad_size_and_bad_article_option() -> None:
    with pytest.raises(ReproError, match="unknown size 'b4'"):
        efficientnet_v2("b4")
    with pytest.raises(ReproError, match="unknown option of efficientnet_v2_s_article 'padding'"):
        find_spec("efficientnet_v2_s_article", padding="same")


NATIVE = {
    "torch": """
import torch
run = lambda m, x: m.eval()(torch.from_numpy(x)).detach().numpy()
def fill(parameter, values):
    parameter.data = torch.from_numpy(values)
""",
    "paddle": """
import paddle
def run(m, x):
    m.eval()
    return m(paddle.to_tensor(x)).numpy()
def fill(parameter, values):
    parameter.set_value(values)
""",
    "mindspore": """
import mindspore
run = lambda m, x: m.set_train(False)(mindspore.Tensor(x)).asnumpy()
def fill(parameter, values):
    parameter.set_data(mindspore.Tensor(values))
""",
}


def test_padding_worked_by_hand(backend: str, run_in: Run) -> None:
    """Ones under a window of ones: each output is the number of pixels that its window covers. "same" covers
    ceil(side / stride) windows and puts the odd pixel of padding at the end; "symmetric" puts it at the beginning."""
    run_in(backend, f"""
{NATIVE[backend]}
import numpy as np
from backends.{backend}.layers import conv
# kernel, stride, side, padding: pixels under each window of one axis
COVERED = {{
    (3, 1, 4, "same"): [2, 3, 3, 2], (3, 1, 5, "same"): [2, 3, 3, 3, 2], (3, 1, 1, "same"): [1],
    (3, 2, 4, "same"): [3, 2], (3, 2, 5, "same"): [2, 3, 2], (3, 2, 2, "same"): [2], (3, 2, 1, "same"): [1],
    (5, 2, 4, "same"): [4, 3], (5, 2, 5, "same"): [3, 5, 3], (5, 1, 4, "same"): [3, 4, 4, 3],
    (3, 2, 4, None): [2, 3], (3, 2, 5, None): [2, 3, 2], (3, 2, 2, None): [2], (5, 2, 4, None): [3, 4],
}}
for (kernel, stride, height, padding), rows in COVERED.items():
    for other, columns in COVERED.items():
        if (other[0], other[1], other[3]) != (kernel, stride, padding):
            continue
        for groups in (1, 4):
            layer = conv(4, 4, kernel, stride, groups, padding=padding)
            fill(layer.weight, np.ones((4, 4 // groups, kernel, kernel), np.float32))
            y = run(layer, np.ones((2, 4, height, other[2]), np.float32))
            expected = np.outer(rows, columns) * (4 // groups)
            assert y.shape == (2, 4, *expected.shape), (y.shape, kernel, stride, height, other)
            assert np.array_equal(y, np.broadcast_to(expected, y.shape)), (kernel, stride, height, other, y[0, 0])
# which pixel meets which weight: a lone one at the corner, under windows that begin on it
layer = conv(1, 1, 3, 2, padding="same")
fill(layer.weight, np.arange(1, 10, dtype=np.float32).reshape(1, 1, 3, 3))
x = np.zeros((1, 1, 4, 4), np.float32)
x[..., 2, 3] = 1  # third row, last column: the last row of the upper window, the second column of the right one
assert np.array_equal(run(layer, x)[0, 0], [[0, 8], [0, 2]])
""")  # fmt: skip


def test_squeeze_worked_by_hand(backend: str, run_in: Run) -> None:
    """A map of mean 2: silu(2) = 1.76159, and sigmoid(1.76159) = 0.85341; in the article sigmoid(relu(2)) = 0.88080."""
    run_in(backend, f"""
{NATIVE[backend]}
import numpy as np
from backends.{backend}.layers import SqueezeExcite
x = np.array([1, 3, 5, -1], np.float32).reshape(1, 1, 2, 2)
for activation, bias, gate in (("silu", True, 0.85341), ("relu", False, 0.88080)):
    layer = SqueezeExcite(1, 1, activation, "sigmoid", bias)
    for part in (layer.reduce, layer.restore):
        fill(part.weight, np.ones((1, 1, 1, 1), np.float32))
        if bias:
            fill(part.bias, np.zeros(1, np.float32))
    assert np.allclose(run(layer, x), gate * x, atol=1e-5), (activation, run(layer, x) / x)
""")  # fmt: skip


def test_the_articles_network_worked_by_hand(backend: str, run_in: Run) -> None:
    """What it changes: projections end in a ReLU, and the head sees the mean of the map, whatever its size."""
    run_in(backend, f"""
import numpy as np
from backends.{backend} import create_model, forward, load_weights
from repro.weights.init import random_weights
paper, article = (create_model(name, num_classes=4, in_channels=1)
                  for name in ("efficientnet_v2_s_same", "efficientnet_v2_s_article"))
x = np.random.default_rng(0).standard_normal((2, 1, 64, 90)).astype(np.float32)
arrays = random_weights(article.spec, 0)
load_weights(article, arrays)
load_weights(paper, random_weights(paper.spec, 0))
printed, published = forward(article, x), forward(paper, x)
for name in ("stages.1.0", "stages.3.0", "stages.5.0"):  # without a shortcut
    assert printed[name].min() == 0 and published[name].min() < 0, name
added = printed["stages.5.1"] - printed["stages.5.0"]
assert added.min() > -1e-5 and (published["stages.5.1"] - published["stages.5.0"]).min() < -0.1
assert printed["stages.5.14"].shape == published["stages.5.14"].shape == (2, 256, 2, 3)
assert printed["head"].shape == (2, 128, 1, 1) and published["head"].shape == (2, 1280, 2, 3)
means = printed["stages.5.14"].mean((2, 3)) @ arrays["head.conv.weight"][:, :, 0, 0].T
scale, shift, mean, var = (arrays[f"head.norm.{{leaf}}"] for leaf in ("weight", "bias", "running_mean", "running_var"))
head = np.maximum((means - mean) / np.sqrt(var + 1e-3) * scale + shift, 0)
assert np.allclose(printed["head"][:, :, 0, 0], head, atol=1e-4)
logits = head @ arrays["classifier.weight"].T + arrays["classifier.bias"]
assert np.allclose(printed["logits"], logits, atol=1e-4)
""")  # fmt: skip


def test_blocks_drop_as_often_as_their_depth_says(backend: str, run_in: Run) -> None:
    run_in(backend, f"""
from backends.{backend} import create_model
rates = [block.drop_path.rate for stage in create_model("efficientnet_v2_s", drop_path=0.4).stages for block in stage]
assert len(rates) == 40
assert all(abs(rate - 0.4 * i / 40) < 1e-12 for i, rate in enumerate(rates)), rates
""")  # fmt: skip


def test_a_training_step_agrees(run_in: Run, require_backend: Require) -> None:
    """Losses of two steps, of which the second sees all weights changed; a compiled graph in MindSpore. The third runs
    with drop path and dropout."""
    losses = {}
    for name in SHIPPED:
        require_backend(name)
        losses[name] = json.loads(run_in(name, f"""
import json
from dataclasses import replace
import numpy as np
from backends.{name} import create_model, create_trainer
from repro.interface import TrainSettings
from repro.specs import find_spec
from repro.weights.init import initialise
spec = find_spec("efficientnet_v2_b0_same", num_classes=4, in_channels=1)
spec = replace(spec, stages=spec.stages[:4])
images = np.random.default_rng(0).standard_normal((8, 1, 64, 48)).astype(np.float32)
losses = []
for options in (dict(drop_path=0.0, dropout=0.0), dict(drop_path=0.5, dropout=0.5)):
    trainer = create_trainer(create_model(replace(spec, **options)), TrainSettings(momentum=0.9, weight_decay=0.1))
    trainer.load_weights(initialise(spec, 0))
    losses += [trainer.step(images, np.arange(8) % 4, 0.01)[0] for _ in range(2)]
print(json.dumps(losses))
""").splitlines()[-1])  # fmt: skip
    for name, (first, second, *dropped) in losses.items():
        assert [first, second] == pytest.approx(losses["torch"][:2], rel=1e-3), name
        assert abs(first - second) > 0.05
        assert np.isfinite(dropped).all() and abs(dropped[0] - first) > 1e-3, name
