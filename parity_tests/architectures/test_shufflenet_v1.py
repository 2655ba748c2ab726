"""ShuffleNet V1: published figures, operators worked by hand, and MindCV's networks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from repro.errors import ReproError
from repro.specs import CATALOGUE, find_spec
from repro.specs.shufflenet_v1 import Unit, shufflenet_v1
from repro.weights.init import initialise

Run = Callable[[str, str], str]

# groups, width: parameters, millions of MACs; counted in the authors' code (3 and 8 groups, width 0.5 and more) and in
# a network put together from the paper's Table 1
COUNTED = {
    (1, 0.25): (208_746, 11.00),
    (1, 0.5): (533_484, 38.52),
    (1, 1.0): (1_530_936, 143.08),
    (1, 1.5): (2_992_356, 313.68),
    (1, 2.0): (4_917_744, 550.33),
    (2, 1.0): (1_732_848, 140.84),
    (2, 2.0): (5_256_896, 539.14),
    (3, 0.25): (304_902, 11.01),
    (3, 0.5): (717_324, 37.59),
    (3, 1.0): (1_864_728, 137.46),
    (3, 1.5): (3_441_168, 292.44),
    (3, 2.0): (5_449_776, 524.05),
    (4, 1.0): (1_967_344, 134.34),
    (4, 2.0): (5_592_528, 510.29),
    (8, 0.5): (1_010_448, 40.47),
    (8, 1.0): (2_433_768, 138.37),
    (8, 1.5): (4_268_952, 290.19),
    (8, 2.0): (6_521_232, 521.94),
}


def name_of(groups: int, width: float) -> str:
    return f"shufflenet_v1_g{groups}_x{width}".replace(".", "_")


@pytest.mark.parametrize(("groups", "width"), COUNTED)
def test_parameters_and_macs(groups: int, width: float) -> None:
    spec = find_spec(name_of(groups, width))
    assert (spec.params, round(spec.macs / 1e6, 2)) == COUNTED[groups, width]


def test_every_variant_is_counted() -> None:
    assert {name for name in CATALOGUE if name.startswith("shufflenet_v1")} == {name_of(*key) for key in COUNTED}


@pytest.mark.parametrize(("groups", "published"), [(1, 143), (2, 140), (3, 137), (4, 133), (8, 137)])
def test_table_1_counts_convolutions_alone(groups: int, published: int) -> None:
    convolutions = sum(op.macs for op in shufflenet_v1(groups).trace().operators if op.kind == "conv")
    assert round(convolutions / 1e6) == published


@pytest.mark.parametrize(
    ("groups", "width", "published"),
    [
        (3, 0.5, 38), (3, 1.0, 138), (3, 1.5, 292), (3, 2.0, 524), (8, 0.5, 40), (8, 1.0, 138), (8, 1.5, 290),
        (8, 2.0, 522),
    ],
)  # fmt: skip
def test_the_authors_list_counts_the_classifier_too(groups: int, width: float, published: int) -> None:
    assert abs(shufflenet_v1(groups, width=width).macs / 1e6 - published) <= 0.55


@pytest.mark.parametrize(
    ("groups", "width", "reason"),
    [
        (2, 0.25, "bottleneck of stage 2 would have 12.5 channels, which is not a multiple of 2"),
        (2, 0.5, "bottleneck of stage 2 would have 25 channels, which is not a multiple of 2"),
        (2, 1.5, "bottleneck of stage 2 would have 75 channels, which is not a multiple of 2"),
        (4, 0.25, "bottleneck of stage 2 would have 17 channels, which is not a multiple of 4"),
        (4, 0.5, "bottleneck of stage 2 would have 34 channels, which is not a multiple of 4"),
        (4, 1.5, "bottleneck of stage 2 would have 102 channels, which is not a multiple of 4"),
        (8, 0.25, "first branch of stage 2 would have 90 channels, which is not a multiple of 8"),
        (3, 0.3, "stem would have 7.2 channels, which is not a multiple of 1"),
    ],
)
def test_undefined_channels_are_an_error(groups: int, width: float, reason: str) -> None:
    with pytest.raises(ReproError, match=f"width {width} is not defined for {groups} groups: the {reason}"):
        shufflenet_v1(groups, width=width)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width must be a number"),
        ({"width": "wide"}, "width must be a number"),
        ({"width": float("nan")}, "width must be a number"),
        ({"dropout": 1}, "dropout must be"),
        ({"num_classes": 0}, "num_classes must be a whole number"),
        ({"groups": 3}, "unknown option"),
        ({"drop_path": 0.1}, "unknown option"),
    ],
)
def test_bad_option(options: dict, message: str) -> None:
    with pytest.raises(ReproError, match=message):
        find_spec("shufflenet_v1_g3_x1_0", **options)


@pytest.mark.parametrize("groups", [0, 5, 3.0, True, "3"])
def test_bad_groups(groups: object) -> None:
    with pytest.raises(ReproError, match="groups must be 1, 2, 3, 4 or 8"):
        shufflenet_v1(groups)  # type: ignore[arg-type]


def test_units_worked_by_hand() -> None:
    stages = shufflenet_v1(3).stages
    assert [len(stage) for stage in stages] == [4, 8, 4]
    assert stages[0][0] == Unit(24, 60, 240, stride=2, reduce_groups=1, groups=3)
    assert stages[0][0].branch == 216  # 24 of 240 channels are the input's own
    assert stages[0][1] == Unit(240, 60, 240, stride=1, reduce_groups=3, groups=3)
    assert stages[2][0] == Unit(480, 240, 960, stride=2, reduce_groups=3, groups=3)
    assert shufflenet_v1(8, width=0.5).stem == 16
    assert [shufflenet_v1(groups, width=1.5).stem for groups in (1, 3, 8)] == [36, 24, 24]


def test_stages_halve_the_map() -> None:
    stages = find_spec("shufflenet_v1_g3_x1_0").trace().stages
    assert stages["stem"] == (24, 112, 112)
    assert [stages[f"stages.{number}.0"] for number in range(3)] == [(240, 28, 28), (480, 14, 14), (960, 7, 7)]


def test_initialisation_is_the_authors() -> None:
    arrays = initialise(find_spec("shufflenet_v1_g3_x1_0", in_channels=1), 0)
    assert arrays["stem.conv.weight"].std() == pytest.approx(0.01, rel=0.1)  # (24, 1, 3, 3), not depthwise
    assert arrays["stages.2.1.depthwise.conv.weight"].std() == pytest.approx(1, rel=0.05)
    assert arrays["stages.2.1.reduce.conv.weight"].std() == pytest.approx(1 / 320, rel=0.01)
    assert arrays["classifier.weight"].std() == pytest.approx(0.01, rel=0.01)
    assert set(np.unique(arrays["stages.0.0.expand.norm.bias"])) == {np.float32(1e-4)}
    assert set(np.unique(arrays["stages.0.0.expand.norm.weight"])) == {1}


NATIVE = {
    "torch": "import torch\nrun = lambda m, x: m.eval()(torch.from_numpy(x)).detach().numpy()",
    "paddle": "import paddle\ndef run(m, x):\n    m.eval()\n    return m(paddle.to_tensor(x)).numpy()",
    "mindspore": "import mindspore\nrun = lambda m, x: m.set_train(False)(mindspore.Tensor(x)).asnumpy()",
}


def test_unit_worked_by_hand(backend: str, run_in: Run) -> None:
    """With convolutions that hand their inputs on, what is left are the shuffle, the pooling and the joining."""
    run_in(backend, f"""
{NATIVE[backend]}
import numpy as np
from dataclasses import replace
from backends.{backend} import create_model, forward, load_weights
from repro.specs import find_spec
from repro.specs.shufflenet_v1 import Unit
spec = find_spec("shufflenet_v1_g3_x0_25", num_classes=2)

def unit(block):
    model = create_model(replace(spec, stem=block.channels_in, stages=((block,),)))
    arrays = {{}}
    for name, weight in model.spec.weights.items():
        value = {{"norm_scale": 1, "norm_var": 1 - spec.norm_eps}}.get(weight.kind, 0)
        array = arrays[name] = np.full(weight.shape, value, np.float32)
        if weight.kind == "conv":
            out, inputs, kernel, _ = weight.shape
            array[range(out), np.arange(out) % inputs, kernel // 2, kernel // 2] = 1
    load_weights(model, arrays)
    return model.stages[0][0]

# 6 channels in 3 groups: 1 2 | 3 4 | 5 6 are read as two rows of three and written by column
x = np.arange(1, 7, dtype=np.float32).reshape(1, 6, 1, 1)
y = run(unit(Unit(6, 6, 6, stride=1, reduce_groups=3, groups=3)), x)
assert np.allclose(y.ravel(), x.ravel() + [1, 4, 2, 5, 3, 6], atol=1e-4), y
# below zero, the sum is cut off
assert not run(unit(Unit(6, 6, 6, stride=1, reduce_groups=3, groups=3)), -x).any()

# 2 channels of 4x4 to 8 of 2x2: the input's means over nine pixels, zeros outside, and then the branch
ramp = np.arange(1, 17, dtype=np.float32).reshape(4, 4)
y = run(unit(Unit(2, 6, 8, stride=2, reduce_groups=1, groups=3)), np.stack([ramp, 100 * ramp])[None])[0]
means = np.array([[14, 30], [57, 99]]) / 9
assert np.allclose(y[:2], [means, 100 * means], rtol=1e-4), y[:2]
picked = ramp[::2, ::2]
assert np.allclose(y[2:], np.array([1, 100, 100, 1, 1, 100])[:, None, None] * picked, rtol=1e-4), y[2:]

# one pixel is enough, and sides need not be equal
model = create_model(spec)
assert spec.min_size == 1
for height, width in ((1, 1), (33, 20)):
    outputs = forward(model, np.ones((2, 3, height, width), np.float32))
    assert outputs["logits"].shape == (2, 2)
    assert outputs["stages.2.3"].shape[2:] == (-(-height // 32), -(-width // 32))
""")  # fmt: skip


MINDCV = """
import numpy as np
import mindspore
from mindspore import Tensor, nn
from mindcv.models import shufflenetv1
from backends.mindspore import create_model, load_weights
from backends.mindspore.native_weights import NAMES
from repro.weights.init import random_weights

def pair(groups, size):
    ours = create_model(f"shufflenet_v1_g{groups}_x{size[0]}_{size[1]}")
    theirs = getattr(shufflenetv1, f"shufflenet_v1_g{groups}_{size}")()
    arrays = random_weights(ours.spec, 3)
    load_weights(ours, arrays)
    carried = dict(arrays)
    for name, block in ((f"stages.{i}.{j}", b) for i, s in enumerate(ours.spec.stages) for j, b in enumerate(s)):
        # theirs shuffles before the depthwise convolution, ours after it
        order = np.arange(block.middle).reshape(-1, groups).T.ravel()
        for key in arrays:
            if key.startswith(f"{name}.depthwise."):
                carried[key] = arrays[key][order]
    kinds = (nn.Conv2d, nn.BatchNorm2d, nn.Dense)
    layers = [cell for _, cell in theirs.cells_and_names() if isinstance(cell, kinds)]
    operators = ours.spec.trace().operators
    assert len(layers) == len(operators)
    for cell, operator in zip(layers, operators):
        names = [name for name in carried if name.rpartition(".")[0] == operator.name]
        own = {parameter.name.rpartition(".")[2]: parameter for parameter in cell.get_parameters()}
        assert len(names) == len(own)
        for name in names:
            target = own[NAMES.name(name, ours.spec.weights[name]).rpartition(".")[2]]
            assert target.shape == carried[name].shape, name
            target.set_data(Tensor(carried[name]))
    return ours.set_train(False), theirs.set_train(False)

def difference(ours, theirs, side):
    x = Tensor(np.random.default_rng(side).standard_normal((2, 3, side, side)).astype(np.float32))
    a, b = ours(x).asnumpy(), theirs(x).asnumpy()
    return np.abs(a - b).max() / np.abs(b).max()

def pad_evenly(model, what):
    for _, cell in list(model.cells_and_names()):
        if what == "max" and hasattr(cell, "max_pool"):
            cell.max_pool = nn.MaxPool2d(3, 2, pad_mode="pad", padding=1)
        if what == "mean" and hasattr(cell, "branch_proj"):
            cell.branch_proj = nn.AvgPool2d(3, 2, pad_mode="pad", padding=1, count_include_pad=True)
"""


def test_mindcv_is_equal_but_for_its_pooling(run_in: Run, require_backend: Callable[[str], None]) -> None:
    """All of its networks. 1e-5 is a hundred roundings of float32, for some fifty layers."""
    require_backend("mindspore")
    run_in("mindspore", MINDCV + """
for groups in (3, 8):
    for size in ("05", "10", "15", "20"):
        ours, theirs = pair(groups, size)
        pad_evenly(theirs, "max")
        pad_evenly(theirs, "mean")
        for side in (64, 65):
            error = difference(ours, theirs, side)
            assert error < 1e-5, (groups, size, side, error)
""")  # fmt: skip


def test_mindcv_pads_its_pools_at_the_end(run_in: Run, require_backend: Callable[[str], None]) -> None:
    """pad_mode="same" moves both poolings by a pixel at even sizes and leaves the padding out of the means."""
    require_backend("mindspore")
    run_in("mindspore", MINDCV + """
for pools in ((), ("max",), ("mean",)):
    ours, theirs = pair(3, "05")
    for what in pools:
        pad_evenly(theirs, what)
    assert difference(ours, theirs, 64) > 1e-2, pools
# the maximum is the same at odd sizes, the mean is not
ours, theirs = pair(3, "05")
assert difference(ours, theirs, 65) > 1e-2
pad_evenly(theirs, "mean")
assert difference(ours, theirs, 65) < 1e-5
""")  # fmt: skip
