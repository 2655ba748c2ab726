"""Tests of repro.evaluation.classifier and .prediction, on the made-up backend and on real ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from parity_tests.conftest import RunProgram
from parity_tests.support.made_up import MODEL, SoftmaxRegression
from parity_tests.support.runs import assert_refused
from repro.data import Transform
from repro.errors import ReproError
from repro.evaluation.classifier import PREPARATION, read_classifier
from repro.evaluation.prediction import choose_backend, predict_images, softmax
from repro.interface import discovery
from repro.predict import main
from repro.specs import find_spec
from repro.training.loop import predict_padded
from repro.weights import safetensors_file
from repro.weights.init import initialise
from repro.weights.porting import read_weights, write_weights

pytestmark = pytest.mark.usefixtures("photo_run")

BEST = "a/best.safetensors"


def test_images_are_prepared_as_in_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[np.ndarray] = []

    def look(self: SoftmaxRegression, images: np.ndarray) -> np.ndarray:
        seen.append(images)
        return np.zeros((2, 3))

    monkeypatch.setattr(SoftmaxRegression, "predict", look)
    arrays, metadata = safetensors_file.load(BEST)
    safetensors_file.save("b.safetensors", arrays, metadata | {"mean": "[0.1, 0.2, 0.3]", "image_size": "9"})
    predict_images(read_classifier(Path("b.safetensors")), "torch", [Image.new("RGB", (30, 20), (255, 0, 51))] * 2)
    expected = [(1 - 0.1) / 0.5, (0 - 0.2) / 0.5, (0.2 - 0.3) / 0.5]
    assert seen[0].shape == (2, 3, 9, 9) and seen[0].dtype == np.float32
    assert np.allclose(seen[0], np.reshape(expected, (1, 3, 1, 1)), atol=1e-6)


def test_every_recorded_preparation_is_read() -> None:
    """A field of Transform in the metadata that read_classifier ignored would change predictions."""
    _, metadata = safetensors_file.load(BEST)
    assert {field.name for field in fields(Transform)} & metadata.keys() <= set(PREPARATION)
    assert {"image_size", "mean", "std"} <= set(PREPARATION)


def test_batches_have_one_shape() -> None:
    shapes: list[tuple[int, ...]] = []

    class Trainer(SoftmaxRegression):
        def predict(self, images: np.ndarray) -> np.ndarray:
            shapes.append(images.shape)
            return images.sum(axis=(1, 2, 3))[:, None]

    trainer: Any = Trainer(None, None)
    assert predict_padded(trainer, np.ones((2, 3, 4, 4), np.float32), 5).tolist() == [[48], [48]]
    assert shapes == [(5, 3, 4, 4)]


def test_batches_do_not_change_predictions() -> None:
    classifier = read_classifier(Path(BEST))
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8)) for _ in range(70)]
    together = predict_images(classifier, "torch", images)
    assert np.allclose(
        together, np.concatenate([predict_images(classifier, "torch", [image]) for image in images]), atol=1e-6
    )


def test_softmax() -> None:
    logits = np.array([[1000, 1000, -1000], [0, np.log(3), -np.inf]], np.float32)
    assert np.allclose(softmax(logits), [[0.5, 0.5, 0], [0.25, 0.75, 0]], atol=1e-7)
    assert softmax(logits).dtype == np.float64
    assert np.isnan(softmax(np.array([[np.nan, 1], [np.inf, 1]]))).any(axis=1).all()


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("image_size", "9" * 30, "image_size must be a whole number"),
        ("image_size", "[" * 100_000, "image_size must be a whole number"),
        ("mean", "[0, 0]", "mean must be one number or three"),
        ("mean", "[NaN, 0, 0]", "mean must be one number or three"),
        ("std", "none", "std must be one number or three"),
        ("classes", "[1, 2, 3]", "the classes in b.safetensors are not a list of names"),
        ("classes", '["a", "b"]', "distinguishes 3 classes, but 2 names are given"),
        ("classes", '{"a": 1}', "the classes in b.safetensors are not a list of names"),
    ],
)
def test_metadata_are_not_trusted(key: str, text: str, message: str) -> None:
    arrays, metadata = safetensors_file.load(BEST)
    safetensors_file.save("b.safetensors", arrays, metadata | {key: text})
    assert_refused(main, ["b.safetensors", "photos"], message)


def test_images_of_another_number_of_channels_are_refused() -> None:
    spec = find_spec(MODEL, num_classes=3, in_channels=1)
    write_weights("grey.pth", spec, initialise(spec, 0))
    assert_refused(main, ["grey.pth", "photos", "--run", "a"], "grey.pth takes images of 1 channels, not 3")


def test_logits_of_nan_or_infinity_are_refused() -> None:
    spec, arrays, metadata = read_weights(BEST)
    arrays["classifier.weight"][:] = 3e38
    write_weights("b.safetensors", spec, arrays, metadata)
    with np.errstate(over="ignore", invalid="ignore"):
        assert_refused(main, ["b.safetensors", "photos", "--csv", "p.csv"], "computes NaN or infinity")


def test_the_default_backend_is_that_of_the_training_or_an_installed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def install(*installed: str) -> None:
        def load(name: str) -> None:
            if name not in installed:
                raise ReproError(f"backend {name} cannot import its framework")

        monkeypatch.setattr(discovery, "load_backend", load)

    install("torch", "paddle")
    assert [choose_backend(None, trained) for trained in ("paddle", "mindspore", "no such", None)] == [
        "paddle", "torch", "torch", "torch",
    ]  # fmt: skip
    assert choose_backend("paddle", "torch") == "paddle"
    with pytest.raises(ReproError, match="backend mindspore cannot import"):
        choose_backend("mindspore", "torch")
    install()
    with pytest.raises(ReproError, match="no framework is installed"):
        choose_backend(None, "torch")


@pytest.mark.slow
def test_torch_and_paddle_agree(
    require_backend: Callable[[str], None], run_program: RunProgram, tmp_path: Path
) -> None:
    spec = find_spec("asymmnet_small", num_classes=10)
    path = tmp_path / "fresh.safetensors"
    metadata = {
        "model": spec.name, "classes": json.dumps([str(digit) for digit in range(10)]), "image_size": "32",
        "mean": "[0.5, 0.5, 0.5]", "std": "[0.5, 0.5, 0.5]",
    }  # fmt: skip
    arrays = initialise(spec, 0)
    for name, weight in spec.weights.items():
        if weight.kind == "norm_var":  # where every variance is 1, every logit is nearly 0
            arrays[name] *= np.float32(0.15)
    safetensors_file.save(path, arrays, metadata)
    probabilities = {}
    for backend in ("torch", "paddle"):
        require_backend(backend)
        probabilities[backend] = np.array(run_program(backend, "classifier:predict_digits", backend, str(path)))
    assert probabilities["torch"].shape == (40, 10) and probabilities["torch"].std(axis=0).max() > 0.01
    assert np.abs(probabilities["torch"] - probabilities["paddle"]).max() < 1e-5
    assert np.array_equal(probabilities["torch"].argmax(axis=1), probabilities["paddle"].argmax(axis=1))
