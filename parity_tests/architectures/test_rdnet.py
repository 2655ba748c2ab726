"""RDNet against the published figures, cases worked by hand, and timm."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from repro.errors import ReproError
from repro.specs import find_spec
from repro.specs.rdnet import Transition, rdnet
from repro.weights.init import initialise

Run = Callable[[str, str], str]

# parameters, millions of MACs at 224 pixels; the authors' code, counted there
COUNTED = {
    "rdnet_tiny": (23_863_008, 5_032.67),
    "rdnet_small": (50_436_448, 8_706.22),
    "rdnet_base": (87_451_096, 15_358.16),
    "rdnet_large": (186_269_632, 34_675.29),
}
# channels ahead of each halving of the map and at the end; drop-path rate
PUBLISHED = {
    "rdnet_tiny": ([256, 440, 744, 1040], 0.15),
    "rdnet_small": ([264, 512, 760, 1264], 0.35),
    "rdnet_base": ([408, 584, 1000, 1760], 0.4),
    "rdnet_large": ([528, 840, 1528, 2000], 0.5),
}


@pytest.mark.parametrize("name", COUNTED)
def test_parameters_and_macs(name: str) -> None:
    spec = find_spec(name)
    assert (spec.params, round(spec.macs / 1e6, 2)) == COUNTED[name]


def test_macs_of_the_large_one_at_384_pixels() -> None:
    operators = find_spec("rdnet_large").trace(384).operators
    assert round(sum(op.macs for op in operators) / 1e6, 2) == 101_894.47


@pytest.mark.parametrize("name", PUBLISHED)
def test_widths_and_drop_path(name: str) -> None:
    widths, rate = PUBLISHED[name]
    spec = rdnet(name.removeprefix("rdnet_"))
    transitions = [stage.transition for stage in spec.stages if stage.transition]
    assert [t.channels_in for t in transitions if t.stride == 2] + [spec.features] == widths
    assert spec.drop_path == rate


def test_stages_worked_by_hand() -> None:
    """A third stage of 440 channels in: half of them is 220, of which 216 are whole eights."""
    spec = rdnet("tiny")
    first, third = spec.stages[0], spec.stages[2]
    assert first.transition is None
    assert [(b.channels_in, b.expanded, b.growth, b.gate) for b in first.blocks] == [
        (64, 256, 64, False), (128, 512, 64, False), (192, 768, 64, False),
    ]  # fmt: skip
    assert third.transition == Transition(440, 216, stride=2)
    assert [b.gate for stage in spec.stages for b in stage.blocks] == [False] * 6 + [True] * 15
    depths = [b.depth for stage in spec.stages for b in stage.blocks]
    assert np.allclose(depths, np.linspace(0, 1, 21), rtol=0, atol=1e-15)


def test_initial_weights() -> None:
    """Normal over the fan in, which is 49 for a depthwise 7x7; torch's own bounds for the biases of convolutions."""
    arrays = initialise(find_spec("rdnet_tiny"), 0)
    assert abs(arrays["stages.0.blocks.0.expand.weight"].std() / np.sqrt(2 / 64) - 1) < 0.02
    assert abs(arrays["stages.6.blocks.2.depthwise.weight"].std() / np.sqrt(2 / 49) - 1) < 0.02
    bias, bound = arrays["stages.6.blocks.2.depthwise.bias"], 1 / 7
    assert 0.95 * bound < np.abs(bias).max() <= bound
    assert 0.95 / np.sqrt(1040) < np.abs(arrays["classifier.weight"]).max() <= 1 / np.sqrt(1040)
    assert not arrays["classifier.bias"].any()
    assert set(arrays["stages.0.blocks.0.scale"]) == {np.float32(1e-6)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"drop_path": 1.0}, "drop_path must be at least 0 and below 1"),
        ({"drop_path": "x"}, "drop_path must be"),
        ({"dropout": -0.1}, "dropout must be"),
        ({"in_channels": 0}, "in_channels must be"),
        ({"growth": 64}, "unknown option of rdnet_tiny"),
    ],
)
def test_bad_option(options: dict, message: str) -> None:
    with pytest.raises(ReproError, match=message):
        find_spec("rdnet_tiny", **options)


def test_too_small_an_image() -> None:
    """Patches of 4 pixels, halved three times."""
    with pytest.raises(ReproError, match="rdnet_tiny takes images of at least 32 pixels, not 31"):
        find_spec("rdnet_tiny").trace(31)


BY_HAND = """
import numpy as np
from dataclasses import replace
from backends.{backend} import create_model, forward, load_weights
from repro.specs import find_spec
from repro.specs.rdnet import Block, Stage
block = Block(channels_in=2, expanded=2, growth=2, gate=True, depth=0.0)
spec = replace(find_spec("rdnet_tiny", num_classes=1, in_channels=1), stem=2, stages=(Stage(None, (block,)),))
arrays = {{name: np.zeros(weight.shape, np.float32) for name, weight in spec.weights.items()}}
for name, weight in spec.weights.items():
    if weight.kind == "norm_scale":
        arrays[name][:] = 1
arrays["stem.conv.weight"][:, 0, 0, 0] = 3, 1  # normalised: 1, -1
arrays["stages.0.blocks.0.depthwise.weight"][:, 0, 3, 3] = 1
arrays["stages.0.blocks.0.expand.weight"][:, :, 0, 0] = np.eye(2)  # GELU: 0.8413447, -0.1586553
arrays["stages.0.blocks.0.project.weight"][:, :, 0, 0] = 4 * np.eye(2)  # 3.3653790, -0.6346210
arrays["stages.0.blocks.0.se.conv.weight"][:, :, 0, 0] = np.eye(2)  # gates: 1, 2.3653790 / 6
arrays["stages.0.blocks.0.scale"][:] = 1, 10
model = create_model(spec)
load_weights(model, arrays)
outputs = forward(model, np.ones((1, 1, 4, 4), np.float32))
expected = [1, -1, 3.3653790, -2.5018622]  # what came in, then what was added
assert np.abs(outputs["stages.0"].ravel() - expected).max() < 1e-5, outputs
mean, var = np.mean(expected), np.var(expected)
assert np.abs(outputs["norm"].ravel() - (np.array(expected) - mean) / np.sqrt(var + 1e-5)).max() < 1e-5, outputs
"""


def test_block_worked_by_hand(run_in: Run, backend: str) -> None:
    """The order of the channels, the exact GELU, the gate, the scale and the norm of the head."""
    run_in(backend, BY_HAND.format(backend=backend))


DROP_PATH = {
    "torch": """
x = torch.ones(400, 2, 1, 1)
y, z = layer.train()(x).numpy(), layer.eval()(x).numpy()
""",
    "paddle": """
x = paddle.ones([400, 2, 1, 1])
layer.train()
y = layer(x).numpy()
layer.eval()
z = layer(x).numpy()
""",
    "mindspore": """
mindspore.set_context(mode=mindspore.GRAPH_MODE)
x = mindspore.ops.ones((400, 2, 1, 1))
y, z = layer.set_train(True)(x).asnumpy(), layer.set_train(False)(x).asnumpy()
""",
}


def test_drop_path_drops_whole_images(run_in: Run, backend: str) -> None:
    run_in(backend, f"""
import numpy as np
import {backend}
from backends.{backend}.models.rdnet import DropPath
layer = DropPath(0.25)
{DROP_PATH[backend]}
assert np.array_equal(z, np.ones((400, 2, 1, 1)))
assert np.array_equal(y[:, 0], y[:, 1])
kept = y[:, 0].ravel() != 0
assert np.allclose(y[kept], 4 / 3)
assert 260 < kept.sum() < 340  # 300 on average, with a deviation of 8.7
""")  # fmt: skip


TIMM = """
import re
import timm, torch
from backends.torch import create_model
from repro.weights.init import random_weights
PARTS = {
    "depthwise": "layers.layers.0", "norm": "layers.layers.1", "expand": "layers.layers.2",
    "project": "layers.layers.4", "se.conv": "layers.layers.5.fc", "scale": "gamma",
}
def theirs(name):
    if found := re.fullmatch(r"stages[.](.*)[.]transition[.](norm|conv)[.](.*)", name):
        return f"dense_stages.{found[1]}.{['norm', 'conv'].index(found[2])}.{found[3]}"
    if found := re.fullmatch(r"stages[.](.*)[.]blocks[.](.)[.](.*)", name):
        rest = re.sub(r"^(depthwise|norm|expand|project|se[.]conv|scale)", lambda part: PARTS[part[0]], found[3])
        return f"dense_stages.{found[1]}.{2 if int(found[1]) else 0}.dense_block{found[2]}.{rest}"
    for part, its in ("norm", "head.norm"), ("classifier", "head.fc"), ("stem.conv", "stem.0"), ("stem.norm", "stem.1"):
        name = re.sub(f"^{part}[.]", f"{its}.", name)
    return name
with torch.device("meta"):  # both then take the same float64 tensors over
    ours = create_model("rdnet_tiny", num_classes=7).eval()
    them = timm.create_model("rdnet_tiny", pretrained=False, num_classes=7).eval()
weights = {name: torch.from_numpy(array).double() for name, array in random_weights(ours.spec, 3).items()}
ours.load_state_dict(weights, assign=True)
them.load_state_dict({theirs(name): tensor for name, tensor in weights.items()}, assign=True)
torch.manual_seed(0)
@torch.no_grad()
def difference(*shape):
    x = torch.randn(1, 3, *shape, dtype=torch.float64)
    a, b = ours(x), them(x)
    return ((a - b).abs().max() / b.abs().max()).item()
assert 1e-9 < difference(32, 32) < 1e-3
them.head.norm.eps = 1e-5
assert difference(64, 64) < 1e-12
assert difference(65, 47) < 1e-12
"""


def test_equals_timm(run_in: Run, require_backend: Callable[[str], None]) -> None:
    """In float64, once timm's head has the authors' epsilon: torch's default of 1e-5, for which timm has 1e-6. The
    larger sizes have more of the same blocks, which are counted."""
    require_backend("torch")
    run_in("torch", TIMM)
