"""repro.published.source, and the commands that take published weights by name, without any network."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from PIL import Image

from parity_tests.conftest import RunProgram
from repro import port
from repro.data import Transform
from repro.errors import ReproError
from repro.evaluation.classifier import PREPARATION, read_classifier
from repro.published import lookup
from repro.published.lookup import imagenet_classes, table
from repro.published.source import locate_weights, published_metadata, published_variant
from repro.specs import find_spec
from repro.training.initial_state import initial_weights
from repro.training.recipe_sources import build_recipe, parse_values
from repro.weights import safetensors_file
from repro.weights.init import random_weights
from repro.weights.porting import Checkpoint, read_checkpoint, write_checkpoint

VARIANT, SMALL = "mobilenet_v2_x0_35", "paddle.vision:mobilenet_v2_x0_35"
KERAS = "MobileNetV2(alpha=0.35)"
REAL = "torchvision:mobilenet_v2.IMAGENET1K_V1"


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither ask the publishers' packages, which takes seconds, nor pause between the attempts of a download."""
    monkeypatch.setattr(lookup, "ask_package", lambda publisher, models: None)
    monkeypatch.setattr("repro.published.download.PAUSE", 0.0)


@pytest.fixture
def cached_mobilenet(empty_caches: Path, mobilenet_file: Path) -> Path:
    """torchvision's own file in torch hub's cache."""
    path = empty_caches / ".cache/torch/hub/checkpoints" / mobilenet_file.name
    path.parent.mkdir(parents=True)
    shutil.copyfile(mobilenet_file, path)
    return path


@pytest.fixture
def served_weights(empty_caches: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a server on loopback that offers random weights as SMALL. Its table has no other entry."""
    folder = empty_caches / "served"
    folder.mkdir()
    spec = find_spec(VARIANT)
    write_checkpoint(folder / "small.pdparams", Checkpoint(spec, random_weights(spec, 1)), to="paddle.vision")
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        template = next(entry for entry in table() if entry.publisher == "paddle.vision")
        entry = replace(
            template, name="mobilenet_v2_x0_35", variant=VARIANT, file="small.pdparams", md5="",
            url=f"http://127.0.0.1:{server.server_port}/small.pdparams",
            size=(folder / "small.pdparams").stat().st_size,
        )  # fmt: skip
        monkeypatch.setattr(lookup, "table", lambda: (entry,))
        yield folder
        server.shutdown()


def test_a_path_stays_a_path() -> None:
    source = locate_weights("C:/weights.pth", "mobilenet_v2", "timm")
    assert (source.path, source.model, source.layout) == (Path("C:/weights.pth"), "mobilenet_v2", "timm")
    assert locate_weights("nowhere:best.pth").path == Path("nowhere:best.pth")
    assert published_variant("best.safetensors") is None


@pytest.mark.parametrize(
    ("source", "model", "layout", "message"),
    [
        ("torchvison:mobilenet_v2", None, "auto", "unknown publisher 'torchvison': did you mean torchvision"),
        (
            "timm:rdnet_tny.nv_in1k",
            None,
            "auto",
            "unknown weights of timm 'rdnet_tny.nv_in1k': did you mean",
        ),
        (REAL, "vgg16", "auto", "is mobilenet_v2, not vgg16; leave --model out"),
        (REAL, None, "timm", "has the layout of torchvision, not of timm; leave --from out"),
    ],
)
def test_a_wrong_reference_is_one_line(
    empty_caches: Path, source: str, model: str | None, layout: str, message: str
) -> None:
    with pytest.raises(ReproError, match=message) as caught:
        locate_weights(source, model, layout)
    assert "\n" not in str(caught.value)
    assert not list(empty_caches.iterdir())


def test_weights_are_downloaded_and_ported(served_weights: Path, empty_caches: Path) -> None:
    destination = empty_caches / "out.safetensors"
    assert port.main([SMALL, str(destination)]) == 0
    assert (empty_caches / ".cache/paddle/hapi/weights/small.pdparams").is_file()
    arrays, metadata = safetensors_file.load(destination)
    assert metadata["model"] == VARIANT
    assert metadata["published_as"] == SMALL
    expected = random_weights(find_spec(VARIANT), 1)
    assert all((array == expected[name]).all() for name, array in arrays.items())
    (served_weights / "small.pdparams").unlink()  # from now on, the cached file serves
    assert port.main([SMALL, "--inspect"]) == 0


def cut_short(folder: Path) -> None:
    with (folder / "small.pdparams").open("r+b") as file:
        file.truncate(100_000)


def missing(folder: Path) -> None:
    (folder / "small.pdparams").unlink()


@pytest.mark.parametrize(
    ("misbehave", "message"),
    [(cut_short, r"sent a file with another size \(100,000 bytes"), (missing, "HTTP 404 .*; download it yourself")],
)
def test_a_failed_download_leaves_nothing(
    served_weights: Path, empty_caches: Path, misbehave: Callable[[Path], None], message: str
) -> None:
    misbehave(served_weights)
    with pytest.raises(ReproError, match=message) as caught:
        port.main([SMALL, str(empty_caches / "out.safetensors")])
    assert "\n" not in str(caught.value)
    assert not (empty_caches / "out.safetensors").exists()
    assert not list((empty_caches / ".cache/paddle/hapi/weights").iterdir())


def test_a_full_disk_is_one_line(served_weights: Path, empty_caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill_disk(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("repro.published.download._fill", fill_disk)
    with pytest.raises(ReproError, match=r"cannot write .*small\.pdparams: No space left on device; free the space"):
        port.main([SMALL, str(empty_caches / "out.safetensors")])
    assert not (empty_caches / ".cache/paddle/hapi/weights/small.pdparams").exists()
    assert not (empty_caches / "out.safetensors").exists()


def test_a_damaged_file_in_the_cache_is_named(cached_mobilenet: Path, tmp_path: Path) -> None:
    content = bytearray(cached_mobilenet.read_bytes())
    content[5_000_000] ^= 1
    cached_mobilenet.write_bytes(content)
    with pytest.raises(ReproError, match=r"b0353104\.pth is damaged: it has another sha256 .*; remove it"):
        port.main([REAL, str(tmp_path / "out.safetensors")])


def test_the_published_file_goes_through_port(cached_mobilenet: Path, tmp_path: Path) -> None:
    assert port.main([REAL, str(tmp_path / "out.safetensors")]) == 0
    expected = read_checkpoint(cached_mobilenet, "mobilenet_v2", log=lambda line: None).weights
    arrays, metadata = safetensors_file.load(tmp_path / "out.safetensors")
    assert arrays.keys() == expected.keys()
    assert all((array == expected[name]).all() for name, array in arrays.items())
    assert metadata["source_layout"] == "torchvision"


def test_a_recipe_takes_its_model_from_published_weights(cached_mobilenet: Path) -> None:
    recipe = build_recipe({}, {"backend": "torch", "weights": REAL})
    assert recipe.model == "mobilenet_v2"
    weights = initial_weights(recipe, find_spec("mobilenet_v2"))
    expected = read_checkpoint(cached_mobilenet, "mobilenet_v2", log=lambda line: None).weights
    assert all((array == expected[name]).all() for name, array in weights.items())
    other = build_recipe({"model": "vgg16"}, {"backend": "torch", "weights": REAL})
    with pytest.raises(ReproError, match="is mobilenet_v2, not vgg16"):
        initial_weights(other, find_spec("vgg16"))
    with pytest.raises(ReproError, match="--model is required"):
        build_recipe({}, {"backend": "torch", "weights": "best.safetensors"})


@pytest.mark.slow
def test_the_published_file_is_exported(
    cached_mobilenet: Path, tmp_path: Path, require_backend: Callable[[str], None], run_program: RunProgram
) -> None:
    require_backend("torch")
    (line,) = run_program("torch", "export:export", [[REAL, str(tmp_path / "out.onnx"), "--image-size", "64"]])
    assert "mobilenet_v2 for images (N, 3, 64, 64)" in line


def test_predictions_need_no_flags(
    cached_mobilenet: Path, tmp_path: Path, require_backend: Callable[[str], None], run_program: RunProgram
) -> None:
    """The ported file carries the image preparation and the class names, and predicts what torchvision predicts."""
    require_backend("torch")
    path = tmp_path / "out.safetensors"
    assert port.main([REAL, str(path)]) == 0
    for classifier in (read_classifier(path), read_classifier(REAL)):
        assert classifier.classes == imagenet_classes()
        transform = classifier.transform
        assert (transform.image_size, transform.resize) == (224, "crop")
        assert (transform.crop_fraction, transform.interpolation) == (0.875, "bilinear")
        assert transform.mean == (0.485, 0.456, 0.406) and transform.std == (0.229, 0.224, 0.225)
    rows = np.add.outer(np.arange(300), np.arange(400))[..., None]  # neither square nor of the size of the network
    Image.fromarray((rows * [1, 2, 3] % 256).astype(np.uint8)).save(tmp_path / "image.png")
    ours, theirs = run_program(
        "torch", "published:probabilities", str(path), str(cached_mobilenet), str(tmp_path / "image.png")
    )
    assert np.abs(np.subtract(ours, theirs)).max() <= 1e-5


def test_other_classes_have_no_published_names(cached_mobilenet: Path, tmp_path: Path) -> None:
    assert port.main([REAL, str(tmp_path / "out.safetensors"), "--num-classes", "5"]) == 0
    _, metadata = safetensors_file.load(tmp_path / "out.safetensors")
    assert "classes" not in metadata
    assert metadata["crop_fraction"] == "0.875"


@pytest.fixture
def cached_keras_file(empty_caches: Path) -> str:
    """The reference of a file with random weights in Keras's cache."""
    reference = f"keras:{KERAS}"
    entry = lookup.find_in_table(reference)
    path = empty_caches / ".keras" / "models" / entry.file
    path.parent.mkdir(parents=True)
    spec = find_spec(VARIANT)
    write_checkpoint(path, Checkpoint(spec, random_weights(spec, 1)), to="keras")
    return reference


def test_keras_squashes_images_and_has_the_classes_of_imagenet(cached_keras_file: str) -> None:
    classifier = read_classifier(cached_keras_file)
    transform = classifier.transform
    assert (transform.image_size, transform.resize, transform.interpolation) == (224, "squash", "bilinear")
    assert transform.mean == transform.std == (0.5, 0.5, 0.5)
    assert classifier.spec.numerics == {"norm_eps": "0.001", "padding": "same"}
    assert classifier.classes == imagenet_classes()


def test_fine_tuning_needs_the_options_of_the_published_network(cached_keras_file: str) -> None:
    recipe = build_recipe({}, {"backend": "torch", "weights": cached_keras_file})
    with pytest.raises(
        ReproError,
        match=r"a network with norm_eps=0\.001 and padding=same; add --option norm_eps=0\.001 --option padding=same",
    ):
        initial_weights(recipe, find_spec(VARIANT))
    recipe = replace(recipe, options={"norm_eps": 0.001, "padding": "same"})
    assert "stem.conv.weight" in initial_weights(recipe, find_spec(VARIANT, **recipe.options))


def test_kerass_preparations() -> None:
    """EfficientNetV2 and MobileNetV3 prepare images in layers; VGG and ResNet V1 take BGR, as no preparation does."""
    preparations = {entry.name: entry.preprocessing for entry in table() if entry.publisher == "keras"}
    assert len(preparations) == 28
    without = {"VGG16", "VGG19", "ResNet50", "ResNet101", "ResNet152"}
    assert {name for name, preparation in preparations.items() if not preparation} == without
    assert preparations["EfficientNetV2B1"]["image_size"] == 240
    assert preparations["EfficientNetV2B1"]["mean"] == preparations["DenseNet121"]["mean"] == [0.485, 0.456, 0.406]
    assert preparations["EfficientNetV2S"]["std"] == [0.501961] * 3  # 128 / 255
    assert preparations["MobileNetV3Small"]["mean"] == preparations["ResNet50V2"]["mean"] == [0.5] * 3


def test_a_publisher_that_gives_no_preparation_leaves_it_to_flags(served_weights: Path) -> None:
    with pytest.raises(ReproError, match="does not record its image_size, mean, std; give --image-size"):
        read_classifier(SMALL)
    settings = {"image_size": 64, "mean": (0.5,), "std": (0.5,)}
    assert read_classifier(SMALL, settings=settings).classes == imagenet_classes()


def test_the_preparation_of_mindcv_and_of_paddleclas_is_known() -> None:
    """Paddle's high-level API evaluates BGR images, for which there is no preparation here."""
    for entry in table():
        if entry.publisher == "mindcv" or entry.reference.startswith("paddle.vision:densenet"):
            assert (entry.preprocessing["image_size"], entry.preprocessing["crop_fraction"]) == (224, 0.875)
            assert entry.preprocessing["mean"] == [0.485, 0.456, 0.406]
            assert entry.preprocessing["std"] == [0.229, 0.224, 0.225]
        elif entry.publisher == "paddle.vision":
            assert not entry.preprocessing


def test_the_preparation_of_every_entry_can_be_read_back() -> None:
    for entry in table():
        metadata = {name: text for name, text in published_metadata(entry).items() if name in PREPARATION}
        parsed = parse_values({name: json.loads(text) for name, text in metadata.items()})
        if entry.preprocessing:
            Transform(**parsed)
