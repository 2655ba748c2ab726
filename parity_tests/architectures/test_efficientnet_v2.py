"""EfficientNetV2: counts, the article's network, and layers and blocks by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from repro.errors import ReproError
from repro.interface.discovery import SHIPPED
from repro.specs import CATALOGUE, Trace, find_spec
from repro.specs.efficientnet_v2 import Block, efficientnet_v2
from repro.weights.init import initialise

Run = Callable[..., Any]
Require = Callable[[str], None]

# size: parameters, millions of MACs at the evaluation size, as counted in timm, torchvision, Keras and MindCV
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
    counted = {f"efficientnet_v2_{size}{suffix}" for size in COUNTED for suffix in ("", "_same")}
    variants = {name for name in CATALOGUE if name.startswith("efficientnet_v2")}
    assert variants == counted | {"efficientnet_v2_s_article"}


def test_article_counts() -> None:
    """Counts for 1 channel, 10 classes and 320x384 pixels; the paper's S has 343,928 parameters more."""
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
    assert (stages[3][0].squeeze, stages[3][1].squeeze) == (16, 32)  # a quarter of the block's input
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
def test_sides_of_the_maps(name: str) -> None:
    spec = find_spec(name)
    stages = spec.trace().stages
    assert [stages[f"stages.{number}.0"][1] for number in range(6)] == [192, 96, 48, 24, 24, 12]
    assert stages["head"] == (1280, 12, 12)
    assert spec.min_size == 1


def test_training_settings() -> None:
    specs = {size: efficientnet_v2(size) for size in COUNTED}
    assert {size: spec.dropout for size, spec in specs.items()} == {
        "b0": 0.2, "b1": 0.2, "b2": 0.3, "b3": 0.3, "s": 0.2, "m": 0.3, "l": 0.4, "xl": 0.4,
    }  # fmt: skip
    assert {(spec.drop_path, spec.norm_eps, spec.norm_momentum) for spec in specs.values()} == {(0.2, 1e-3, 0.1)}
    assert efficientnet_v2("l", dropout=0.0).dropout == 0


def test_initial_weights() -> None:
    arrays = initialise(find_spec("efficientnet_v2_b0", in_channels=1), 0)
    assert arrays["stem.conv.weight"].std() == pytest.approx((2 / (9 * 32)) ** 0.5, rel=0.15)  # (32, 1, 3, 3), dense
    # one filter per channel; torchvision also divides by the channels, so that its initial weights are 26 times smaller
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


# kernel size, stride, side, padding: pixels under each window of one axis
COVERED_PIXELS: dict[tuple[int, int, int, str | None], list[int]] = {
    (3, 1, 4, "same"): [2, 3, 3, 2], (3, 1, 5, "same"): [2, 3, 3, 3, 2], (3, 1, 1, "same"): [1],
    (3, 2, 4, "same"): [3, 2], (3, 2, 5, "same"): [2, 3, 2], (3, 2, 2, "same"): [2], (3, 2, 1, "same"): [1],
    (5, 2, 4, "same"): [4, 3], (5, 2, 5, "same"): [3, 5, 3], (5, 1, 4, "same"): [3, 4, 4, 3],
    (3, 2, 4, None): [2, 3], (3, 2, 5, None): [2, 3, 2], (3, 2, 2, None): [2], (5, 2, 4, None): [3, 4],
}  # fmt: skip


def test_padding_worked_by_hand(backend: str, run_program: Run) -> None:
    """Images and windows of ones make each output the number of pixels that its window covers.

    "same" padding covers ceil(side / stride) windows and puts an odd row or column of padding at the end; symmetric
    padding puts it at the beginning.
    """
    cases, expected = [], []
    for (kernel, stride, height, padding), rows in COVERED_PIXELS.items():
        for (*other, width, other_padding), columns in COVERED_PIXELS.items():
            if (*other, other_padding) != (kernel, stride, padding):
                continue
            for groups in (1, 4):
                cases.append((kernel, stride, height, width, padding, groups))
                expected.append(np.outer(rows, columns) * (4 // groups))
    outputs = run_program(backend, "efficientnet_v2:window_sums", backend, cases)
    for case, output, one_channel in zip(cases, map(np.array, outputs), expected, strict=True):
        assert output.shape == (2, 4, *one_channel.shape), case
        assert np.array_equal(output, np.broadcast_to(one_channel, output.shape)), (case, output[0, 0])


def test_same_padding_keeps_the_order_of_the_weights(backend: str, run_program: Run) -> None:
    """The pixel is in the last row of the upper windows and in the second column of the right ones."""
    assert run_program(backend, "efficientnet_v2:same_padding_of_one_pixel", backend) == [[0, 8], [0, 2]]


def test_squeeze_worked_by_hand(backend: str, run_program: Run) -> None:
    """The gate of a map with a mean of 2 is sigmoid(silu(2)) = sigmoid(1.76159) = 0.85341.

    The article's gate is sigmoid(relu(2)) = 0.88080.
    """
    pixels = [1, 3, 5, -1]
    for activation, bias, gate in (("silu", True, 0.85341), ("relu", False, 0.88080)):
        output = run_program(backend, "efficientnet_v2:squeeze_excite", backend, pixels, activation, bias)
        assert np.allclose(output, gate * np.array(pixels), atol=1e-5), (activation, output)


def test_the_articles_network_worked_by_hand(backend: str, run_program: Run) -> None:
    """The article's projections end in a ReLU, and its head sees the mean of the map whatever its size."""
    result = run_program(backend, "efficientnet_v2:article_and_paper", backend)
    assert result["smallest outputs"]["article"] == [0, 0, 0]
    assert max(result["smallest outputs"]["paper"]) < 0
    assert result["smallest sums"]["article"] > -1e-5
    assert result["smallest sums"]["paper"] < -0.1
    assert result["shapes"] == {"paper": [[2, 256, 2, 3], [2, 1280, 2, 3]], "article": [[2, 256, 2, 3], [2, 128, 1, 1]]}
    assert result["head is the mean"]
    assert result["logits follow the head"]


def test_drop_path_rates_grow_with_depth(backend: str, run_program: Run) -> None:
    rates = run_program(backend, "efficientnet_v2:drop_path_rates", backend, 0.4)
    assert len(rates) == 40
    assert all(abs(rate - 0.4 * index / 40) < 1e-12 for index, rate in enumerate(rates)), rates


@pytest.mark.slow
def test_training_steps_agree(run_program: Run, require_backend: Require) -> None:
    """Losses of two steps, the second of which sees all weights changed; MindSpore compiles its steps.

    Two more steps train with drop path and dropout.
    """
    losses: dict[str, list[float]] = {}
    for backend in SHIPPED:
        require_backend(backend)
        losses[backend] = []
        for rate in (0.0, 0.5):
            options = {"num_classes": 4, "in_channels": 1, "drop_path": rate, "dropout": rate}
            settings = {"momentum": 0.9, "weight_decay": 0.1}
            case = ("efficientnet_v2_b0_same", options, settings, [8, 1, 64, 48], 0.01, 2, 4)
            losses[backend] += run_program(backend, "training_steps:losses", backend, *case)
    for backend, (first, second, *dropped) in losses.items():
        assert [first, second] == pytest.approx(losses["torch"][:2], rel=1e-3), backend
        assert abs(first - second) > 0.05
        assert np.isfinite(dropped).all()
        assert abs(dropped[0] - first) > 1e-3, backend
