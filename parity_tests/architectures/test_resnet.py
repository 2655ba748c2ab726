"""ResNet V1 and V2: counts, the operators that differ between variants, and their networks in other packages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from repro.errors import ReproError
from repro.specs import find_spec
from repro.specs.resnet import resnet

Run = Callable[..., Any]
Require = Callable[[str], None]

# name: parameters, millions of MACs at 224 pixels, as counted in torchvision, timm, Keras and the article's code
COUNTED = {
    "resnet50": (25_557_032, 4089.18),
    "resnet101": (44_549_160, 7801.41),
    "resnet152": (60_192_808, 11513.63),
    "resnet50_keras": (25_583_592, 3857.97),
    "resnet101_keras": (44_601_832, 7570.19),
    "resnet152_keras": (60_268_520, 11282.42),
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


def test_the_article_is_keras_without_biases() -> None:
    article, keras = find_spec("resnet50_v2_article"), find_spec("resnet50_v2_keras")
    assert article.macs == keras.macs == 3_482_255_360
    assert keras.params - article.params == 18_944
    missing = set(keras.weights) - set(article.weights)
    assert {name.rpartition(".")[0].rpartition(".")[2] for name in missing} == {"restore", "shortcut"}
    assert "stem.bias" in article.weights
    assert (article.norm_eps, article.norm_momentum) == (1e-5, 0.1)
    assert (keras.norm_eps, keras.norm_momentum) == (1.001e-5, 0.01)


def test_where_the_map_is_halved() -> None:
    """The stem leaves a quarter of each side; then first blocks halve the map, and in Keras last blocks do.

    The article lists sides of 56, 28, 14, 7 and 7 pixels.
    """

    def sides(name: str) -> list[int]:
        stages = find_spec(name).trace().stages
        return [stages[f"stages.{number}.{index}"][1] for number in range(4) for index in range(3)]

    in_first_block = [56, 56, 56, 28, 28, 28, 14, 14, 14, 7, 7, 7]
    assert sides("resnet50") == sides("resnet50_v2") == in_first_block
    in_last_block = [56, 56, 28, 28, 28, 28, 14, 14, 14, 7, 7, 7]  # stages 2 and 3 have more than three blocks
    assert sides("resnet50_v2_keras") == sides("resnet50_v2_article") == in_last_block
    stages = find_spec("resnet50_v2_keras").trace().stages
    assert (stages["stages.1.3"][1], stages["stages.2.5"][1]) == (14, 7)


def test_keras_has_the_papers_strides_and_biases() -> None:
    keras = find_spec("resnet50_keras")
    assert set(keras.weights) - set(find_spec("resnet50").weights) == {
        name.replace("weight", "bias") for name, weight in keras.weights.items() if weight.kind == "conv"
    }
    outputs = {operator.name: operator.output for operator in keras.trace().operators}
    assert [outputs[f"stages.1.0.{part}.conv"][1] for part in ("reduce", "spatial", "restore", "shortcut")] == [28] * 4
    assert [outputs[f"stages.1.1.{part}.conv"][1] for part in ("reduce", "spatial", "restore")] == [28] * 3
    assert (keras.norm_eps, keras.norm_momentum) == (1.001e-5, 0.01)


@pytest.mark.parametrize("depth", [18, "50"])
def test_unknown_depth(depth: object) -> None:
    with pytest.raises(ReproError, match="depth must be one of 50, 101, 152, not"):
        resnet(depth)  # type: ignore[arg-type]


def test_operators_worked_by_hand(run_program: Run, backend: str) -> None:
    result = run_program(backend, "resnet:operators", backend)
    # a map that is -1 everywhere is pooled 3x3 with stride 2: Keras pads it with zeros, the article does not
    assert np.array_equal(result["keras pooling"][0], [[0, 0], [0, -1]])
    assert (np.array(result["article pooling"]) == -1).all()
    assert result["strided shortcut"], "a shortcut with stride 2 must keep every second row and column"
    assert result["plain shortcut"]
    assert result["smallest sizes"] == [1, 1]
    for logits in map(np.array, result["logits of a pixel"]):
        assert logits.shape == (1, 1000)
        assert np.isfinite(logits).all()


@pytest.mark.slow
@pytest.mark.parametrize("package", ["torchvision", "timm"])
def test_equals_torchvision_and_timm(package: str, run_program: Run, require_backend: Require) -> None:
    """The smallest depth is compared. The deeper variants have more of the same blocks, which are counted."""
    require_backend("torch")
    assert max(run_program("torch", "resnet:torch_errors", package, [64, 75])) <= 1e-12


def test_equals_paddle_vision(run_program: Run, require_backend: Require) -> None:
    """Paddle keeps the epsilon of normalisations in float32, in its own networks and in ours."""
    require_backend("paddle")
    assert max(run_program("paddle", "resnet:paddle_errors", [64, 75])) <= 1e-9


@pytest.mark.slow
def test_equals_mindcv_where_the_stem_leaves_an_odd_map(run_program: Run, require_backend: Require) -> None:
    """MindCV pads the pooling of the stem as TensorFlow does: only at the end where the map is even.

    Windows of an even map then start one pixel later than in the paper's code.
    """
    require_backend("mindspore")
    equal, different = [65, 66, 74], [64, 67]
    errors = run_program("mindspore", "resnet:mindcv_errors", equal + different)
    assert max(errors[:3]) <= 1e-5
    assert min(errors[3:]) > 1e-2


@pytest.mark.slow
def test_mindcvs_resnet_v2_differs_from_the_paper(run_program: Run, require_backend: Require) -> None:
    """MindCV puts pre-activated blocks into ResNet V1.

    It normalises the stem and the projections, and has neither normalisation nor ReLU between the last addition and
    the classifier.
    """
    require_backend("mindspore")
    result = run_program("mindspore", "resnet:mindcv_resnet_v2")
    names = set(result["names"])
    assert result["parameters"] == 25_553_064
    assert {"bn1.gamma", "layer1.0.down_sample.1.gamma", "classifier.weight"} <= names
    assert {name.partition(".")[0] for name in names} == {
        "conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "classifier",
    }  # fmt: skip
    norms = [sum(name.endswith("gamma") for name in result[key]) for key in ("our names", "names")]
    assert norms == [49, 53]
    assert result["smallest feature"] < 0
    assert result["error of logits from averaged features"] <= 1e-5
    assert result["our smallest feature"] >= 0
