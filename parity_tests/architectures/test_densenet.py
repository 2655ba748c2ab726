"""DenseNet against torchvision's figures, cases worked by hand, and the DenseNets of three packages."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from repro.errors import ReproError
from repro.specs import find_spec
from repro.specs.densenet import densenet
from repro.weights.init import initialise

Run = Callable[[str, str], str]

# parameters, millions of MACs at 224 pixels, channels at the end; torchvision's figures say the same, in whole millions
COUNTED = {
    "densenet121": (7_978_856, 2_834.16, 1024),
    "densenet161": (28_681_000, 7_727.91, 2208),
    "densenet169": (14_149_480, 3_359.84, 1664),
    "densenet201": (20_013_928, 4_291.37, 1920),
}


@pytest.mark.parametrize("name", COUNTED)
def test_parameters_and_macs(name: str) -> None:
    spec = densenet(int(name.removeprefix("densenet")))
    assert (spec.params, round(spec.macs / 1e6, 2), spec.features) == COUNTED[name]


@pytest.mark.parametrize("depth", [121, 161, 169, 201])
def test_depth_counts_the_layers(depth: int) -> None:
    """Table 1's name is the number of convolutions and linear layers."""
    assert sum(op.kind != "norm" for op in densenet(depth).trace().operators) == depth


def test_stages_worked_by_hand() -> None:
    """64 channels and six blocks of 32 make 256; the transition leaves 128."""
    first, second = densenet(121).stages[:2]
    assert [block.channels_in for block in first.blocks] == [64, 96, 128, 160, 192, 224]
    assert {(block.bottleneck, block.growth) for block in first.blocks} == {(128, 32)}
    assert (first.transition, second.transition) == (None, (256, 128))


def test_initial_weights() -> None:
    """Normal over the fan out, as the authors' code has it; the linear layer as torch draws it, the bias zero."""
    arrays = initialise(find_spec("densenet121"), 0)
    assert abs(arrays["stem.conv.weight"].std() / np.sqrt(2 / (64 * 49)) - 1) < 0.03
    assert abs(arrays["stages.3.blocks.0.conv2.weight"].std() / np.sqrt(2 / (32 * 9)) - 1) < 0.02
    assert 0.95 / 32 < np.abs(arrays["classifier.weight"]).max() <= 1 / 32
    assert not arrays["classifier.bias"].any()


@pytest.mark.parametrize("depth", [120, "121", None])
def test_bad_depth(depth: object) -> None:
    with pytest.raises(ReproError, match="depth must be one of 121, 161, 169, 201"):
        densenet(depth)  # type: ignore[arg-type]


def test_bad_option() -> None:
    with pytest.raises(ReproError, match="unknown option of densenet121 'drop_path'"):
        find_spec("densenet121", drop_path=0.1)


def test_too_small_an_image() -> None:
    """29 pixels leave 8 after the stem and the pooling, which the transitions halve to 1."""
    with pytest.raises(ReproError, match="densenet121 takes images of at least 29 pixels, not 28"):
        find_spec("densenet121").trace(28)


BY_HAND = """
import numpy as np
from dataclasses import replace
from backends.{backend} import create_model, forward, load_weights
from repro.specs import find_spec
from repro.specs.densenet import Block, Stage
stages = (Stage(None, (Block(1, 1, 1),)), Stage((2, 1), (Block(1, 1, 1),)))
spec = replace(find_spec("densenet121", num_classes=1, in_channels=1), stem=1, stages=stages)
arrays = {{}}
for name, weight in spec.weights.items():
    value = {{"norm_scale": 1, "norm_var": 1 - 1e-5}}.get(weight.kind, 0)
    arrays[name] = np.full(weight.shape, value, np.float32)
arrays["stem.conv.weight"][0, 0, 3, 3] = 1
first = "stages.0.blocks.0."
arrays[first + "norm1.bias"][:] = -3  # 1 - 3 is negative: the first convolution sees zeros
arrays[first + "conv1.weight"][:] = 100
arrays[first + "norm2.bias"][:] = 5
arrays[first + "conv2.weight"][0, 0, 1, 1] = 2  # 10
arrays["stages.1.transition.norm.weight"][:] = 1, -1  # 1 and, after ReLU, 0
arrays["stages.1.transition.conv.weight"][0, :, 0, 0] = 4, 100
arrays["norm.weight"][:] = 1, 1
arrays["norm.bias"][:] = -1, -1
arrays["classifier.weight"][:] = 5, 1000  # (4 - 1) * 5; ReLU leaves nothing of the other
model = create_model(spec)
load_weights(model, arrays)
image = np.zeros((1, 1, 8, 8), np.float32)
image[..., :4, ::2] = 1  # the stem keeps pixels of even rows and columns; the maximum spreads the ones by a row
outputs = forward(model, image)
def close(name, expected):
    assert np.abs(outputs[name].ravel() - expected).max() < 1e-4, (name, outputs[name])
close("stages.0", [1] * 4 + [10] * 4)  # what came in, then what was added
close("stages.1.transition", [4])
close("logits", [15])
"""


def test_block_worked_by_hand(run_in: Run, backend: str) -> None:
    """Norm and ReLU ahead of each convolution, the order of the channels, the transition and the head."""
    run_in(backend, BY_HAND.format(backend=backend))


SETUP = """
import re
import numpy as np
from repro.specs import find_spec
from repro.weights.init import random_weights
def theirs(name):
    # a transition begins our stage and ends theirs
    name = re.sub(r"^stages[.](.)[.]transition", r"features.transition\\1", name)
    name = re.sub(r"^stages[.](.)[.]blocks[.](\\d+)",
                  lambda m: f"features.denseblock{int(m[1]) + 1}.denselayer{int(m[2]) + 1}", name)
    name = re.sub("^norm[.]", "features.norm5.", name)
    return name.replace("stem.conv", "features.conv0").replace("stem.norm", "features.norm0")
spec = find_spec(model, num_classes=7)
arrays = random_weights(spec, 3)
shapes = (1, 3, 64, 64), (2, 3, 65, 47), (1, 3, 29, 29)
images = [np.random.default_rng(i).standard_normal(shape) for i, shape in enumerate(shapes)]
"""
PACKAGES = {
    "torch": """
import torch, torchvision
from backends.torch import create_model, load_weights
ours, them = create_model(spec), getattr(torchvision.models, model)(num_classes=7)
load_weights(ours, arrays)
tensors = {theirs(name): torch.from_numpy(array) for name, array in arrays.items()}
counts = {name: n for name, n in them.state_dict().items() if name.endswith("num_batches_tracked")}
them.load_state_dict(tensors | counts)
ours.double().eval()
them.double().eval()
@torch.no_grad()
def both(x):
    return ours(torch.from_numpy(x)), them(torch.from_numpy(x))
""",
    "paddle": """
import importlib
from functools import partial
import paddle
from backends.paddle import create_model, load_weights
from backends.paddle.native_weights import NAMES
module = importlib.import_module("paddle.vision.models.densenet")
module.BatchNorm = partial(module.BatchNorm, dtype="float64")  # an old layer, which ignores the default type
paddle.set_default_dtype("float64")
ours, them = create_model(spec), getattr(module, model)(num_classes=7)
load_weights(ours, arrays)
own = them.state_dict()
native = NAMES.to_native(arrays, spec.weights)
assert len(own) == len(native)
for (key, target), (name, array) in zip(own.items(), native.items()):  # both in the order of the forward pass
    assert key.split(".")[-1] == name.split(".")[-1] and tuple(target.shape) == array.shape, (key, name)
    target.set_value(array.astype(np.float64))
ours.eval()
them.eval()
@paddle.no_grad()
def both(x):
    return ours(paddle.to_tensor(x)), them(paddle.to_tensor(x))
""",
}
CHECK = """
for x in images:
    a, b = (np.asarray(y) for y in both(x))
    assert a.shape == b.shape == (len(x), 7)
    assert np.abs(a - b).max() <= tolerance * np.abs(b).max(), (x.shape, np.abs(a - b).max() / np.abs(b).max())
"""
TOLERANCE = {"torch": 1e-12, "paddle": 1e-9}


@pytest.mark.parametrize("package", PACKAGES)
def test_equals_the_package(package: str, run_in: Run, require_backend: Callable[[str], None]) -> None:
    """torchvision and paddle.vision, in float64, on weights drawn at random. The larger sizes have more of the same
    blocks, or wider ones, which are counted; mindcv's is in test_layouts."""
    require_backend(package)
    settings = f"model, tolerance = 'densenet121', {TOLERANCE[package]}\n"
    run_in(package, settings + SETUP + PACKAGES[package] + CHECK)
