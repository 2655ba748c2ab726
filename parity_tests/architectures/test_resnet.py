"""ResNet and its second version: counts, the operators that differ, and the packages that have them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from repro.errors import ReproError
from repro.specs import find_spec
from repro.specs.resnet import resnet

Run = Callable[[str, str], str]
Require = Callable[[str], None]

# name: parameters, millions of MACs at 224 pixels; torchvision, timm, Keras and the article's code, counted there
COUNTED = {
    "resnet50": (25_557_032, 4089.18),
    "resnet101": (44_549_160, 7801.41),
    "resnet152": (60_192_808, 11513.63),
    "resnet50_v2": (25_549_352, 4089.18),
    "resnet101_v2": (44_541_480, 7801.41),
    "resnet152_v2": (60_185_128, 11513.63),
    "resnet50_v2_keras": (25_568_360, 3482.26),
    "resnet101_v2_keras": (44_577_896, 7194.48),
    "resnet152_v2_keras": (60_236_904, 10906.70),
    "resnet50_v2_article": (25_549_416, 3482.26),
}


@pytest.mark.parametrize("name", COUNTED)
def test_parameters_and_macs(name: str) -> None:
    spec = find_spec(name)
    assert (spec.params, round(spec.macs / 1e6, 2)) == COUNTED[name]


def test_the_articles_network_is_kerass_without_biases() -> None:
    article, keras = find_spec("resnet50_v2_article"), find_spec("resnet50_v2_keras")
    assert article.macs == keras.macs == 3_482_255_360
    assert keras.params - article.params == 18_944
    missing = set(keras.weights) - set(article.weights)
    assert {name.rpartition(".")[0].rpartition(".")[2] for name in missing} == {"restore", "shortcut"}
    assert "stem.bias" in article.weights
    assert (article.norm_eps, article.norm_momentum) == (1e-5, 0.1)
    assert (keras.norm_eps, keras.norm_momentum) == (1.001e-5, 0.01)


def test_where_the_map_is_halved() -> None:
    """After a stem that leaves a quarter: in the first blocks, or in Keras's networks in the last ones, of which the
    article says 56, 28, 14, 7, 7."""

    def sides(name: str) -> list[int]:
        stages = find_spec(name).trace().stages
        return [stages[f"stages.{number}.{index}"][1] for number in range(4) for index in range(3)]

    first = [56, 56, 56, 28, 28, 28, 14, 14, 14, 7, 7, 7]
    assert sides("resnet50") == sides("resnet50_v2") == first
    last = [56, 56, 28, 28, 28, 28, 14, 14, 14, 7, 7, 7]  # stages 2 and 3 have more than three blocks
    assert sides("resnet50_v2_keras") == sides("resnet50_v2_article") == last
    stages = find_spec("resnet50_v2_keras").trace().stages
    assert (stages["stages.1.3"][1], stages["stages.2.5"][1]) == (14, 7)


@pytest.mark.parametrize("depth", [18, "50"])
def test_unknown_depth(depth: object) -> None:
    with pytest.raises(ReproError, match="depth must be one of 50, 101, 152, not"):
        resnet(depth)  # type: ignore[arg-type]


TENSOR = {"torch": "torch.from_numpy", "paddle": "paddle.to_tensor", "mindspore": "mindspore.Tensor"}

OPERATORS = """
import numpy as np
import {backend}
from backends.{backend} import create_model, forward
def call(module, x):
    y = module({tensor}(x))
    return y.asnumpy() if hasattr(y, "asnumpy") else y.numpy()
keras, article = create_model("resnet50_v2_keras"), create_model("resnet50_v2_article")
# the maximum of negative numbers: where the window reaches over the border, Keras has a zero
x = np.full((1, 64, 4, 4), -1, np.float32)
assert (call(keras.pool, x)[0, 0] == [[0, 0], [0, -1]]).all()
assert (call(article.pool, x) == -1).all()
# an identity with a stride takes every second position
x = np.arange(256 * 5 * 4, dtype=np.float32).reshape(1, 256, 5, 4)
assert (call(keras.stages[0][2].shortcut, x) == x[:, :, ::2, ::2]).all()
assert (call(keras.stages[0][1].shortcut, x) == x).all()
# the smallest image is one pixel
for model in (keras, create_model("resnet50")):
    assert model.spec.min_size == 1
    logits = forward(model, np.ones((1, 3, 1, 1), np.float32))["logits"]
    assert logits.shape == (1, 1000) and np.isfinite(logits).all()
"""


def test_operators_worked_by_hand(run_in: Run, backend: str) -> None:
    run_in(backend, OPERATORS.format(backend=backend, tensor=TENSOR[backend]))


# torchvision's names, which Paddle and MindCV have too
RENAME = """
import numpy as np
from repro.weights.init import random_weights
def torchvision_name(name):
    if name.startswith("stages."):
        _, number, rest = name.split(".", 2)
        name = f"layer{int(number) + 1}.{rest}"
    parts = {"reduce": "1", "spatial": "2", "restore": "3", "stem": "1"}
    for part, place in parts.items():
        name = name.replace(f"{part}.conv.", f"conv{place}.").replace(f"{part}.norm.", f"bn{place}.")
    for old, new in (("shortcut.conv.", "downsample.0."), ("shortcut.norm.", "downsample.1."), ("classifier", "fc")):
        name = name.replace(old, new)
    return name
def images(size):
    return np.random.default_rng(size).standard_normal((2, 3, size, size), np.float32)
"""

TORCH = """
import timm, torch, torchvision
from backends.torch import create_model, load_weights
def timm_name(name):
    name = name.replace("classifier", "head.fc").replace("shortcut.", "downsample.conv.")
    if name.startswith("stem."):
        return name.replace("stem.", "stem.conv.")
    if not name.startswith("stages."):
        return name
    _, number, index, rest = name.split(".", 3)
    # their norm1 stands before their conv1, ours after it
    rest = rest.replace("restore.", "conv3.").replace("spatial.norm", "norm3").replace("spatial.conv", "conv2")
    rest = rest.replace("reduce.norm", "norm2").replace("reduce.conv", "conv1")
    rest = "norm1" + rest[4:] if rest.startswith("norm.") else rest
    return f"stages.{number}.blocks.{index}.{rest}"
def compare(name, theirs, rename):
    ours = create_model(name)
    arrays = random_weights(ours.spec, 3)
    load_weights(ours, arrays)
    own = {k: v for k, v in theirs.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert {rename(key) for key in arrays} == set(own)
    for key, array in arrays.items():
        target = own[rename(key)]  # timm's classifier is a 1x1 convolution
        assert target.shape[:2] == array.shape[:2] and target.numel() == array.size, key
        target.copy_(torch.from_numpy(array).reshape(target.shape))
    ours, theirs = ours.double().eval(), theirs.double().eval()
    for size in (64, 75):
        x = torch.from_numpy(images(size)).double()
        with torch.no_grad():
            a, b = ours(x), theirs(x)
        error = (a - b).abs().max() / b.abs().max()
        print(name, size, float(error))
        assert error <= 1e-12, (name, size)
"""


def test_torchvision_and_timm_agree(run_in: Run, require_backend: Require) -> None:
    """At the smallest depth: the others have more of the same blocks, which are counted."""
    require_backend("torch")
    run_in("torch", RENAME + TORCH + """
compare("resnet50", torchvision.models.resnet50(), torchvision_name)
compare("resnet50_v2", timm.create_model("resnetv2_50"), timm_name)
""")  # fmt: skip


PADDLE = """
import paddle
from backends.paddle import create_model, load_weights
from backends.paddle.native_weights import NAMES
paddle.set_default_dtype("float64")
def compare(name, theirs):
    ours = create_model(name)
    arrays = random_weights(ours.spec, 3)
    load_weights(ours, arrays)
    own = theirs.state_dict()
    given = {torchvision_name(key): array for key, array in NAMES.to_native(arrays, ours.spec.weights).items()}
    assert set(given) == set(own)
    for key, array in given.items():
        own[key].set_value(array.astype(np.float64))
    ours.eval(); theirs.eval()
    for size in (64, 75):
        x = paddle.to_tensor(images(size).astype(np.float64))
        with paddle.no_grad():
            a, b = ours(x).numpy(), theirs(x).numpy()
        error = np.abs(a - b).max() / np.abs(b).max()
        print(name, size, error)
        assert error <= 1e-9, (name, size)  # Paddle keeps its epsilons in float32, the same in both
"""


def test_paddle_vision_agrees(run_in: Run, require_backend: Require) -> None:
    require_backend("paddle")
    run_in("paddle", RENAME + PADDLE + """
compare("resnet50", paddle.vision.models.resnet50())
""")  # fmt: skip


MINDCV = """
import mindspore
from mindspore import Tensor
from mindcv.models import resnet50, resnetv2_50
from backends.mindspore import create_model, load_weights
from backends.mindspore.native_weights import NAMES
mindspore.set_context(mode=mindspore.PYNATIVE_MODE)
"""


def test_mindcv_agrees_where_the_stem_leaves_an_odd_map(run_in: Run, require_backend: Require) -> None:
    """MindCV pads the stem's pooling as TensorFlow does, at the end alone where the map is even: windows of an even
    map start a pixel later than in the paper's code. Same kernels in the same order: rounding alone is left."""
    require_backend("mindspore")
    run_in("mindspore", RENAME + MINDCV + """
ours, theirs = create_model("resnet50"), resnet50()
arrays = random_weights(ours.spec, 3)
load_weights(ours, arrays)
own = theirs.parameters_dict()
given = {torchvision_name(key).replace("downsample", "down_sample").replace("fc.", "classifier."): array
         for key, array in NAMES.to_native(arrays, ours.spec.weights).items()}
assert set(given) == set(own)
for key, array in given.items():
    assert own[key].shape == array.shape, key
    own[key].set_data(Tensor(array))
ours.set_train(False); theirs.set_train(False)
for size, agree in ((65, True), (66, True), (74, True), (64, False), (67, False)):
    x = Tensor(images(size))
    a, b = ours(x).asnumpy(), theirs(x).asnumpy()
    error = np.abs(a - b).max() / np.abs(b).max()
    print(size, error)
    assert error <= 1e-5 if agree else error > 1e-2, (size, error)
""")  # fmt: skip


def test_mindcv_resnetv2_is_not_the_papers(run_in: Run, require_backend: Require) -> None:
    """MindCV puts pre-activated blocks into its first version: it normalises the stem and the projections, and has
    neither normalisation nor ReLU between the last addition and the classifier."""
    require_backend("mindspore")
    run_in("mindspore", RENAME + MINDCV + """
theirs = resnetv2_50()
names = set(theirs.parameters_dict())
assert sum(parameter.size for parameter in theirs.trainable_params()) == 25_553_064
assert {"bn1.gamma", "layer1.0.down_sample.1.gamma", "classifier.weight"} <= names
assert {name.partition(".")[0] for name in names} == {
    "conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "classifier"}
theirs.set_train(False)
x = Tensor(images(64))
sums = theirs.forward_features(x)
assert sums.asnumpy().min() < 0  # what the classifier averages, as the additions leave it
logits = theirs.classifier(sums.mean((2, 3))).asnumpy()
assert np.abs(logits - theirs(x).asnumpy()).max() <= 1e-5 * np.abs(logits).max()
ours = create_model("resnet50_v2")
norms = lambda spec_names: sum(name.endswith("gamma") for name in spec_names)
assert (norms(ours.parameters_dict()), norms(names)) == (49, 53)
seen = []
ours.classifier.register_forward_hook(lambda cell, inputs, output: seen.append(inputs[0].asnumpy().min()))
ours.set_train(False)
ours(x)
assert seen[0] >= 0
""")  # fmt: skip
