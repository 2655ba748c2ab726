"""Networks of keras.applications as people save them: whole, without a head, and with a head of their own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from repro.errors import ReproError
from repro.parity.comparison import compare_arrays
from repro.parity.tolerance import single_run_tolerance
from repro.port import main
from repro.specs import find_spec
from repro.weights import keras_file
from repro.weights.init import random_weights
from repro.weights.layouts import layout_named
from repro.weights.porting import Checkpoint, read_checkpoint, write_checkpoint
from repro.workers.client import Worker

Run = Callable[..., Any]
Capture = pytest.CaptureFixture[str]
MODEL = "mobilenet_v2_x0_35"
ENDINGS = (".keras", ".h5", ".weights.h5")
HEADS = {"whole": "", "head": "flowers", "augmented": "dense"}  # name of the classifier, where it is not Keras's


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, require_keras: None, run_program: Run) -> Path:
    """A folder of files that Keras wrote."""
    path = tmp_path_factory.mktemp("keras")
    run_program("torch", "keras_networks:save", str(path))
    return path


@pytest.fixture(scope="module")
def torch_worker(require_keras: None) -> Iterator[Worker]:
    with Worker("torch") as worker:
        yield worker


@pytest.mark.slow
@pytest.mark.parametrize("name", [*HEADS, "v3"])
def test_every_kind_of_file_gives_kerass_logits(name: str, folder: Path, torch_worker: Worker) -> None:
    lines: list[str] = []
    checkpoints = [read_checkpoint(folder / f"{name}{ending}", log=lines.append) for ending in ENDINGS]
    spec, weights = checkpoints[0].spec, checkpoints[0].weights
    assert spec.name == (MODEL if name != "v3" else "mobilenet_v3_small_x0_75_keras")
    assert (spec.num_classes, getattr(spec, "padding", None), spec.norm_eps) == (5, "same", 1e-3)
    if layer := HEADS.get(name):
        assert sum(f"took the classifier from {layer}" in line for line in lines) == len(ENDINGS)
    for checkpoint in checkpoints[1:]:
        assert all(np.array_equal(checkpoint.weights[weight], array) for weight, array in weights.items())
    options = {"padding": "same", "norm_eps": 1e-3}
    arrays = {weight: np.array(array, order="C") for weight, array in weights.items()}
    torch_worker.request(
        "create_model", arrays, name=spec.name, options=options, spec_changes={"num_classes": spec.num_classes}
    )
    images = {"images": np.load(folder / "images.npy")}
    exact, rounded = (
        torch_worker.request("forward", images, float64=float64)[1]["logits"] for float64 in (True, False)
    )
    verdict = compare_arrays(
        name, np.load(folder / f"{name}.npy"), exact, tolerance=single_run_tolerance(rounded, exact)
    )
    assert verdict.verdict != "diverges", verdict


@pytest.mark.slow
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_file_without_a_head_gets_a_new_one(ending: str, folder: Path, tmp_path: Path, capsys: Capture) -> None:
    source = folder / f"headless{ending}"
    with pytest.raises(
        ReproError,
        match=r"lacks the head of mobilenet_v2_x0_35 \(predictions\.kernel, predictions\.bias\); initialise one for N "
        r"classes: repro\.port --num-classes N$",
    ):
        read_checkpoint(source, log=str)
    assert main([str(source), str(tmp_path / "w.safetensors"), "--num-classes", "7"]) == 0
    output = capsys.readouterr().out
    assert "initialised 2 of 262 weights: classifier.weight, classifier.bias" in output
    assert "skipped" not in output
    checkpoint = read_checkpoint(tmp_path / "w.safetensors", log=str)
    assert checkpoint.spec.num_classes == 7
    variables = keras_file.read(source)
    assert np.array_equal(checkpoint.weights["last.conv.weight"][:, :, 0, 0], variables["Conv_1.kernel"][0, 0].T)


@pytest.mark.slow
def test_a_head_of_two_layers_is_named_and_can_be_left_out(folder: Path) -> None:
    source = folder / "deep_head.keras"
    with pytest.raises(ReproError, match="fit no variant entirely; add --model NAME"):
        read_checkpoint(source, log=str)
    with pytest.raises(ReproError) as caught:
        read_checkpoint(source, MODEL, log=str)
    assert "dense_1.bias" in str(caught.value) or "dense_2.bias" in str(caught.value)
    assert str(caught.value).endswith("repro.port --num-classes N --partial, which leaves those out")
    lines: list[str] = []
    checkpoint = read_checkpoint(source, MODEL, num_classes=5, partial=True, log=lines.append)
    assert sum("is unexpected" in line for line in lines) == 4
    assert "initialised 2 of 262 weights: classifier.weight, classifier.bias" in lines
    assert checkpoint.spec.num_classes == 5


@pytest.mark.parametrize(
    ("kernel", "bias"),
    [((), (5,)), ((0,), (5,)), ((1280, 0), (0,)), ((1280, 5), ()), ((1280, 5), (4,)), ((1281, 5), (5,)), ((5,), (5,))],
)
def test_a_layer_that_is_no_classifier_is_not_taken(kernel: tuple[int, ...], bias: tuple[int, ...]) -> None:
    spec = find_spec(MODEL)
    layout = layout_named("keras", spec)
    head = {"dense.kernel": np.ones(kernel, np.float32), "dense.bias": np.ones(bias, np.float32)}
    assert layout.with_classifier(head, spec, keras_file.NAMES) is head
    head = {"dense.kernel": np.ones((1280, 5), np.float32), "dense.bias": np.ones(5, np.float32)}
    assert set(layout.with_classifier(head, spec, keras_file.NAMES)) == {"predictions.kernel", "predictions.bias"}
    alone = {"dense.kernel": head["dense.kernel"]}
    assert layout.with_classifier(alone, spec, keras_file.NAMES) is alone
    two = head | {"other.kernel": np.ones(1, np.float32)}
    assert layout.with_classifier(two, spec, keras_file.NAMES) is two


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [MODEL, "mobilenet_v3_small_x0_75_keras", "efficientnet_v2_b0_same", "densenet121", "resnet50_keras"],
)
def test_keras_loads_what_is_written(model: str, tmp_path: Path, require_keras: None, run_program: Run) -> None:
    spec = find_spec(model, num_classes=5)
    layout = write_checkpoint(tmp_path / "w.h5", Checkpoint(spec, random_weights(spec, 0)))
    np.savez(tmp_path / "expected.npz", **keras_file.read(tmp_path / "w.h5"))
    assert run_program("torch", "keras_networks:load", str(tmp_path), layout.models[model], "w.h5") == []


@pytest.mark.slow
def test_vggs_first_linear_layer_sees_the_map_in_kerass_order() -> None:
    """Keras flattens (height, width, channels), and the networks here flatten (channels, height, width)."""
    spec = find_spec("vgg16")
    layout = layout_named("keras", spec)
    weight = spec.weights["hidden1.weight"]
    rng = np.random.default_rng(0)
    kernel, grid = rng.standard_normal((7 * 7 * 512, 4096), np.float32), rng.standard_normal((7, 7, 512), np.float32)
    canonical = layout.to_canonical("hidden1.weight", kernel, weight, keras_file.NAMES)
    assert canonical.shape == weight.shape
    assert np.allclose(canonical[:9] @ grid.transpose(2, 0, 1).ravel(), grid.ravel() @ kernel[:, :9], atol=1e-2)
    back = layout.to_published({"hidden1.weight": canonical}, spec, keras_file.NAMES)
    assert np.array_equal(back["fc1.kernel"], kernel)


def densenet_in_keras_2(layer: str) -> str:
    """Return "conv1/bn" of "conv1_bn"."""
    return re.sub("^conv1_", "conv1/", layer)


def mobilenet_v3_in_keras_2(layer: str) -> str:
    """Return "expanded_conv_1/squeeze_excite/Conv" of "expanded_conv_1_squeeze_excite_conv"."""
    layer = re.sub(r"_bn$", "/BatchNorm", layer)
    layer = re.sub(r"^conv(?=$|_\d|/)", "Conv", layer).replace("logits", "Logits")
    match = re.match(r"(expanded_conv(?:_\d+)?)_(expand|depthwise|project|squeeze_excite)(.*)", layer)
    if not match:
        return layer
    rest = re.sub(r"^_conv", "/Conv", match[3])
    return f"{match[1]}/{match[2]}{rest}"


@pytest.mark.parametrize(
    ("model", "keras_2_name"),
    [("densenet121", densenet_in_keras_2), ("mobilenet_v3_small_x0_75_keras", mobilenet_v3_in_keras_2)],
)
def test_names_of_layers_in_keras_2(model: str, keras_2_name: Callable[[str], str], tmp_path: Path) -> None:
    """Its names contain slashes, in a network and in a network inside another one."""
    spec = find_spec(model, num_classes=3)
    weights = random_weights(spec, 0)
    published = layout_named("keras", spec).to_published(weights, spec, keras_file.NAMES)
    for nested in (False, True):
        path = tmp_path / f"{nested}.h5"
        with h5py.File(path, "w") as file:
            file.attrs["layer_names"] = [b"x"]
            for name, array in published.items():
                layer, _, leaf = name.rpartition(".")
                layer = keras_2_name(layer)
                group = file.require_group("outer" if nested else layer)
                group.attrs["weight_names"] = [b"x"]
                leaf = "depthwise_kernel" if layer.endswith("depthwise") else leaf
                group.create_dataset(f"{layer}/{leaf}:0", data=array)
        read = read_checkpoint(path, model, log=str)
        assert all(np.array_equal(read.weights[name], array) for name, array in weights.items())


def test_writing_for_a_network_with_other_options_is_noted(tmp_path: Path, capsys: Capture) -> None:
    """Keras pads MobileNetV2 otherwise than torchvision, and its file does not say so."""
    spec = find_spec(MODEL, num_classes=3)
    write_checkpoint(tmp_path / "w.pth", Checkpoint(spec, random_weights(spec, 0)), "torchvision")
    note = "note: the network in keras has norm_eps=0.001, padding=same; its logits differ"
    assert main([str(tmp_path / "w.pth"), str(tmp_path / "w.h5"), "--to", "keras"]) == 0
    assert note in capsys.readouterr().out
    assert main([str(tmp_path / "w.h5"), str(tmp_path / "again.h5"), "--to", "keras"]) == 0
    assert "note" not in capsys.readouterr().out
    assert main([str(tmp_path / "w.h5"), str(tmp_path / "w.pt"), "--to", "torchvision"]) == 0
    note = "note: the network in torchvision has norm_eps=1e-05, padding=symmetric; its logits differ"
    assert note in capsys.readouterr().out
