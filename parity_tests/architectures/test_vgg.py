"""VGG: counts, the resizing before its linear layers, and the packages that have it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from repro.errors import ReproError
from repro.specs import find_spec

Run = Callable[[str, str], str]
Require = Callable[[str], None]

# name: parameters, millions of MACs at 224 pixels; torchvision's, counted there
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
    """Five halvings that leave one pixel."""
    spec = find_spec("vgg16")
    assert spec.min_size == 32
    with pytest.raises(ReproError, match="vgg16 takes images of at least 32 pixels, not 31"):
        spec.trace(31)


@pytest.mark.parametrize("value", [1, "yes"])
def test_normalised_is_yes_or_no(value: object) -> None:
    with pytest.raises(ReproError, match="normalised must be true or false"):
        find_spec("vgg16", normalised=value)


TENSOR = {"torch": "torch.from_numpy", "paddle": "paddle.to_tensor", "mindspore": "mindspore.Tensor"}
GRID = """
import numpy as np
import {backend}
from backends.{backend}.models import vgg
vgg.HIDDEN = 2  # the linear layers of 4,096 would take their time
from backends.{backend}.model import create_model
model = create_model("vgg16", num_classes=3)
def call(x):
    y = model.grid({tensor}(x))
    return y.asnumpy() if hasattr(y, "asnumpy") else y.numpy()
assert (call(np.float32([[[[5]]]])) == 5).all()
# two columns on seven: the window of the one in the middle reaches over both
row = call(np.float32([[[[1, 3]] * 7]]))[0, 0]
assert (row == [1, 1, 1, 2, 3, 3, 3]).all()
# nine rows on seven: windows from floor(9 i / 7) to ceil(9 (i + 1) / 7)
x = np.arange(9, dtype=np.float32).reshape(1, 1, 9, 1).repeat(7, 3)
assert np.abs(call(x)[0, 0, :, 0] - [0.5, 1.5, 2.5, 4, 5.5, 6.5, 7.5]).max() < 1e-6
x = np.random.default_rng(0).standard_normal((1, 2, 7, 7)).astype(np.float32)
assert (call(x) == x).all()
x = {tensor}(np.ones((1, 3, 32, 32), np.float32))
assert tuple(model(x).shape) == (1, 3)
try:
    model(x[:, :, 1:])
    accepted = True
except (RuntimeError, ValueError):
    accepted = False
# Paddle pools a map that the window exceeds; the spec's smallest size keeps it from that
assert accepted == ("{backend}" == "paddle")
"""


def test_grid_worked_by_hand(run_in: Run, backend: str) -> None:
    run_in(backend, GRID.format(backend=backend, tensor=TENSOR[backend]))


NAMES = """
import numpy as np
from repro.specs import vgg
from repro.weights.init import random_weights
def package_names(spec):
    # torchvision numbers convolutions, normalisations, ReLUs and poolings of all stages through
    names, place = {}, 0
    for number, stage in enumerate(spec.stages):
        for index, _ in enumerate(stage):
            names[f"stages.{number}.{index}.conv"] = f"features.{place}"
            if spec.normalised:
                names[f"stages.{number}.{index}.norm"] = f"features.{place + 1}"
            place += 3 if spec.normalised else 2
        place += 1
    return names | {"hidden1": "classifier.0", "hidden2": "classifier.3", "classifier": "classifier.6"}
def rename(key, names):
    path, _, leaf = key.rpartition(".")
    return f"{names[path]}.{leaf}"
def images(size, batch=2):
    return np.random.default_rng(size).standard_normal((batch, 3, size, size), np.float32)
"""

TORCH = """
import torch, torchvision
vgg.HIDDEN = 16  # for 4,096, which would take their time
from backends.torch import create_model, load_weights
def compare(name):
    ours = create_model(name)
    with torch.device("meta"):
        theirs = getattr(torchvision.models, name)(init_weights=False)
        for place, sides in {0: (25088, 16), 3: (16, 16), 6: (16, 1000)}.items():
            theirs.classifier[place] = torch.nn.Linear(*sides)
    theirs.to_empty(device="cpu")
    arrays = random_weights(ours.spec, 3)
    load_weights(ours, arrays)
    names = package_names(ours.spec)
    own = {k: v for k, v in theirs.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert {rename(key, names) for key in arrays} == set(own)
    for key, array in arrays.items():
        own[rename(key, names)].copy_(torch.from_numpy(array))
    ours, theirs = ours.double().eval(), theirs.double().eval()
    for size in (32, 75):
        x = torch.from_numpy(images(size)).double()
        with torch.no_grad():
            a, b = ours(x), theirs(x)
        error = (a - b).abs().max() / b.abs().max()
        print(name, size, float(error))
        assert error <= 1e-12, (name, size)
"""

PADDLE = """
import paddle
vgg.HIDDEN = 16  # for 4,096, which would take their time
from backends.paddle import create_model, load_weights
from backends.paddle.native_weights import NAMES
def compare(name):
    theirs = getattr(paddle.vision.models, name.removesuffix("_bn"))(batch_norm=name.endswith("_bn"))
    for place, sides in {0: (25088, 16), 3: (16, 16), 6: (16, 1000)}.items():
        theirs.classifier[place] = paddle.nn.Linear(*sides)
    theirs.to(dtype="float64")
    paddle.set_default_dtype("float64")
    ours = create_model(name)
    arrays = random_weights(ours.spec, 3)
    load_weights(ours, arrays)
    names = package_names(ours.spec)
    own = theirs.state_dict()
    given = {rename(key, names): array for key, array in NAMES.to_native(arrays, ours.spec.weights).items()}
    assert set(given) == set(own)
    for key, array in given.items():
        own[key].set_value(array.astype(np.float64))
    ours.eval(); theirs.eval()
    for size in (32, 75):
        x = paddle.to_tensor(images(size).astype(np.float64))
        with paddle.no_grad():
            a, b = ours(x).numpy(), theirs(x).numpy()
        error = np.abs(a - b).max() / np.abs(b).max()
        print(name, size, error)
        assert error <= 1e-9, (name, size)
"""


@pytest.mark.parametrize("name", ["vgg16_bn", "vgg19"])
def test_torchvision_agrees(name: str, run_in: Run, require_backend: Require) -> None:
    require_backend("torch")
    run_in("torch", f"{NAMES}{TORCH}\ncompare({name!r})")


@pytest.mark.parametrize("name", ["vgg16", "vgg19_bn"])
def test_paddle_vision_agrees(name: str, run_in: Run, require_backend: Require) -> None:
    require_backend("paddle")
    run_in("paddle", f"{NAMES}{PADDLE}\ncompare({name!r})")


def test_mindcv_has_no_bias_in_its_convolutions(run_in: Run, require_backend: Require) -> None:
    """5,504 parameters fewer than the paper's network, and 224 to 255 pixels alone; equal where our biases are zero.
    Same kernels in the same order: rounding alone is left."""
    require_backend("mindspore")
    run_in("mindspore", NAMES + """
import mindspore
from mindspore import Tensor
from mindcv.models import vgg19
from backends.mindspore import create_model, load_weights
from backends.mindspore.native_weights import NAMES
mindspore.set_context(mode=mindspore.PYNATIVE_MODE)
ours, theirs = create_model("vgg19"), vgg19()
arrays = random_weights(ours.spec, 3)
missing = {key for key in arrays if key.endswith("conv.bias")}
assert sum(arrays[key].size for key in missing) == 5_504
assert sum(parameter.size for parameter in theirs.trainable_params()) == 143_667_240 - 5_504
for key in missing:
    arrays[key][:] = 0
load_weights(ours, arrays)
names = package_names(ours.spec)
own = theirs.parameters_dict()
given = {rename(key, names): array for key, array in NAMES.to_native(arrays, ours.spec.weights).items()
         if key not in missing}
assert set(given) == set(own)
for key, array in given.items():
    assert own[key].shape == array.shape, key
    own[key].set_data(Tensor(array))
ours.set_train(False); theirs.set_train(False)
x = Tensor(images(225, 1))
a, b = ours(x).asnumpy(), theirs(x).asnumpy()
assert np.abs(a - b).max() <= 1e-5 * np.abs(b).max()
""")  # fmt: skip
