"""Published layouts: comparison with the packages that they come from, recognition, errors and messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from parity_tests.support.layouts import cases, compare_with_package
from parity_tests.support.packages import Package, packages
from repro.errors import ReproError
from repro.interface.discovery import SHIPPED, native_weights
from repro.port import main
from repro.specs import Spec, find_spec
from repro.weights import layouts, safetensors_file
from repro.weights.formats import native_names, write_file
from repro.weights.init import initialise, random_weights
from repro.weights.layouts import PUBLISHED, Layout, identify_model, layout_named, publishers, recognise_layout
from repro.weights.porting import read_checkpoint, write_checkpoint
from repro.workers.client import Worker

EVERY = [(layout, model) for layout in PUBLISHED for model in layout.models]
SMALL = [(layout, model) for layout, model in EVERY if find_spec(model).params < 5e6]


def ids(case: object) -> str:
    return case.publisher if isinstance(case, Layout) else str(case)


def smallest_variants() -> list[tuple[Layout, str]]:
    """Return the smallest variant of every layout of an installed package, except VGG's, whose files are too large."""
    smallest_of: dict[int, tuple[Layout, str]] = {}
    for layout, model in cases(largest=3e7):
        if id(layout) not in smallest_of or find_spec(model).params < find_spec(smallest_of[id(layout)][1]).params:
            smallest_of[id(layout)] = layout, model
    return list(smallest_of.values())


@pytest.fixture(scope="module")
def package() -> Iterator[Callable[[str], Package]]:
    with packages() as start:
        yield start


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "model"),
    smallest_variants(),
    ids=ids,
)
def test_package_and_torch_agree_on_logits(
    layout: Layout,
    model: str,
    package: Callable[[str], Package],
    workers: dict[str, Worker],
    require_backend: Callable[[str], None],
    require_package: Callable[[str], None],
) -> None:
    """One variant per layout, by one backend, which the ladder compares with the others.

    `python -m parity_tests.support.layouts` compares all variants with all backends.
    """
    require_backend("torch")
    require_package(layout.publisher)
    row = compare_with_package(layout, model, package(layout.publisher), {"torch": workers["torch"]})
    assert row.passed, row.errors
    assert layout.publisher in row.recognised
    assert 0 < row.errors["package"] < 1


@pytest.mark.slow
def test_another_network_diverges(
    workers: dict[str, Worker], require_backend: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The epsilon of one normalisation is changed."""
    for name in SHIPPED:
        require_backend(name)
    monkeypatch.setattr("parity_tests.support.packages.CHANGES", {("timm", "mobilenet_v2"): {"bn1.eps": 3e-5}})
    process = Package("timm")
    try:
        layout = layout_named("timm", find_spec("mobilenet_v2_x0_35"))
        row = compare_with_package(layout, "mobilenet_v2_x0_35", process, workers)
    finally:
        process.close()
    assert not row.passed
    assert row.errors["package"] > 1 > max(row.errors[name] for name in SHIPPED)


@pytest.mark.parametrize(("layout", "model"), EVERY, ids=ids)
def test_every_weight_has_its_own_name(layout: Layout, model: str) -> None:
    spec = find_spec(model)
    shapes = layout.shapes(spec, native_names(layout.format))
    assert len(shapes) == len(spec.weights)
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == sum(w.size for w in spec.weights.values())


@pytest.mark.parametrize(("layout", "model"), SMALL, ids=ids)
def test_layout_round_trip_is_bit_identical(layout: Layout, model: str) -> None:
    spec = find_spec(model, num_classes=7, in_channels=1)
    native = native_names(layout.format)
    arrays = random_weights(spec, 0)
    published = layout.to_published(arrays, spec, native)
    assert {name: array.shape for name, array in published.items()} == layout.shapes(spec, native)
    names = layout.names(spec, native)
    for name, weight in spec.weights.items():
        canonical = layout.to_canonical(name, published[names[name]], weight, native)
        assert np.array_equal(canonical, arrays[name]), name
    fitting, is_complete = recognise_layout(published, find_spec(model), layout.format)
    assert is_complete
    assert layout.publisher in [candidate.publisher for candidate in fitting]


MODEL = "mobilenet_v2_x0_35"
SPEC = find_spec(MODEL, num_classes=5)
WEIGHTS = random_weights(SPEC, 1)


def write_published(publisher: str, path: Path, **changes: np.ndarray | None) -> Path:
    """Write WEIGHTS in a publisher's layout, with arrays changed, added, or left out where the change is None."""
    layout = layout_named(publisher, SPEC)
    native = native_names(layout.format)
    arrays = layout.to_published(WEIGHTS, SPEC, native) | {name.replace("__", "."): a for name, a in changes.items()}
    write_file(path, {name: array for name, array in arrays.items() if array is not None}, {})
    return path


def test_recognised_layout_and_model_are_logged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_published("torchvision", tmp_path / "w.pth")
    assert main([str(path), str(tmp_path / "w.safetensors"), "--model", MODEL]) == 0
    assert "recognised the layout: torchvision\n" in capsys.readouterr().out
    arrays, metadata = safetensors_file.load(tmp_path / "w.safetensors")
    assert all(np.array_equal(arrays[name], WEIGHTS[name]) for name in WEIGHTS)
    assert (metadata["source_layout"], metadata["layout"], metadata["ported_from"]) == (
        "torchvision", "canonical", "w.pth",
    )  # fmt: skip
    assert main([str(path), str(tmp_path / "a.ckpt")]) == 0  # the names fit no other variant
    assert "recognised the model: mobilenet_v2_x0_35\n" in capsys.readouterr().out


def test_any_layout_to_any_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chain = ["timm", "paddle.vision", "torchvision", "mindcv", "canonical"]
    suffixes = {"timm": ".pth", "paddle.vision": ".pdparams", "torchvision": ".pt", "mindcv": ".ckpt"}
    path = write_published("timm", tmp_path / "0.pth")
    for number, publisher in enumerate(chain[1:]):
        target = tmp_path / f"{number + 1}{suffixes.get(publisher, '.safetensors')}"
        assert main([str(path), str(target), "--model", MODEL, "--to", publisher]) == 0
        path = target
    converted, _ = safetensors_file.load(path)
    assert all(converted[name].tobytes() == WEIGHTS[name].tobytes() for name in WEIGHTS)
    output = capsys.readouterr().out
    for publisher in chain[:-1]:
        assert f"recognised the layout: {publisher}" in output


@pytest.mark.parametrize("publisher", ["timm", "torchvision", "paddle", "mindspore", "paddle.vision", "mindcv"])
def test_safetensors_may_hold_any_names(publisher: str, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    write_checkpoint(path, read_checkpoint(write_published("timm", tmp_path / "a.pth"), MODEL, log=str), publisher)
    assert safetensors_file.load(path)[1]["layout"] == publisher
    for bare in (False, True):  # files of others do not record the layout
        if bare:
            safetensors_file.save(path, safetensors_file.load(path)[0])
        checkpoint = read_checkpoint(path, MODEL, log=str)
        assert all(np.array_equal(checkpoint.weights[name], WEIGHTS[name]) for name in WEIGHTS)


def test_ambiguous_layouts_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Add a layout that swaps two weights of the same shape."""

    def swapped(name: str, spec: Spec) -> str:
        pairs = {"stem.norm.weight": "stem.norm.bias", "stem.norm.bias": "stem.norm.weight"}
        return pairs.get(name, name)

    path = write_published("canonical", tmp_path / "w.pth")
    monkeypatch.setattr(layouts, "PUBLISHED", (*PUBLISHED, Layout("elsewhere", "torch", {MODEL: "net"}, swapped)))
    with pytest.raises(
        ReproError, match=r"fit several layouts of mobilenet_v2_x0_35 \(canonical, torch, elsewhere\); choose"
    ):
        read_checkpoint(path, MODEL, log=str)
    read = {name: read_checkpoint(path, MODEL, layout=name, log=str).weights for name in ("canonical", "elsewhere")}
    assert np.array_equal(read["canonical"]["stem.norm.bias"], read["elsewhere"]["stem.norm.weight"])


def test_variants_that_differ_in_padding_are_not_recognised(tmp_path: Path) -> None:
    spec = find_spec("efficientnet_v2_b0", num_classes=3)
    safetensors_file.save(tmp_path / "w.safetensors", initialise(spec, 0))
    with pytest.raises(ReproError, match="its arrays fit efficientnet_v2_b0, efficientnet_v2_b0_same; add --model"):
        read_checkpoint(tmp_path / "w.safetensors", log=str)
    with pytest.raises(ReproError, match="its arrays fit no variant entirely; add --model NAME"):
        identify_model({"a": np.zeros(3)}, "torch", Path("w.pth"))


def test_options_of_the_publishers_network_are_applied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = find_spec("mobilenet_v3_small", num_classes=3)
    layout = layout_named("timm", spec)
    write_file(tmp_path / "w.pth", layout.to_published(initialise(spec, 0), spec, native_names("torch")), {})
    checkpoint = read_checkpoint(tmp_path / "w.pth", "mobilenet_v3_small")
    assert checkpoint.spec.norm_eps == 1e-5
    assert "applied the options of the network in timm: {'norm_eps': 1e-05}" in capsys.readouterr().out
    write_checkpoint(tmp_path / "w.safetensors", checkpoint)
    assert read_checkpoint(tmp_path / "w.safetensors").spec.norm_eps == 1e-5


def test_error_uses_the_names_in_the_file(tmp_path: Path) -> None:
    changes = {"features__18__1__weight": np.ones(3, "float32"), "features__0__0__weight": None}
    path = write_published("torchvision", tmp_path / "w.pth", features__0__0__weigth=np.ones(3, "float32"), **changes)
    with pytest.raises(ReproError) as caught:
        read_checkpoint(path, MODEL, log=str)
    text = str(caught.value)
    assert (
        "features.0.0.weight (canonical name stem.conv.weight) is missing (did you mean features.0.0.weigth?)" in text
    )
    assert "features.18.1.weight (canonical name last.norm.weight) has shape (3,) instead of (1280,)" in text
    assert "features.0.0.weigth is unexpected" in text
    assert "3 mismatches" in text
    assert "\n" not in text


def test_another_number_of_classes_initialises_the_classifier(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_published("torchvision", tmp_path / "w.pth")
    checkpoint = read_checkpoint(path, MODEL, num_classes=9)
    fresh = initialise(find_spec(MODEL, num_classes=9), 0)
    assert checkpoint.spec.num_classes == 9
    for name, array in checkpoint.weights.items():
        assert np.array_equal(array, fresh[name] if name.startswith("classifier.") else WEIGHTS[name]), name
    output = capsys.readouterr().out
    assert "skipped the classifier of 5 classes: classifier.weight, classifier.bias" in output
    assert "initialised 2 of 262 weights: classifier.weight, classifier.bias" in output
    unchanged = read_checkpoint(path, MODEL, num_classes=5).weights
    assert np.array_equal(unchanged["classifier.weight"], WEIGHTS["classifier.weight"])
    assert "initialised" not in capsys.readouterr().out


def test_partial_reads_what_fits_and_logs_the_rest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes = {"features__18__1__weight": np.ones(3, "float32"), "features__0__0__weight": None}
    path = write_published("torchvision", tmp_path / "w.pth", other=np.ones(3, "float32"), **changes)
    assert main([str(path), str(tmp_path / "w.ckpt"), "--model", MODEL, "--partial", "--num-classes", "9"]) == 0
    checkpoint = read_checkpoint(tmp_path / "w.ckpt", MODEL, log=str)
    fresh = initialise(find_spec(MODEL, num_classes=9), 0)
    initialised = {"stem.conv.weight", "last.norm.weight", "classifier.weight", "classifier.bias"}
    for name, array in checkpoint.weights.items():
        assert np.array_equal(array, fresh[name] if name in initialised else WEIGHTS[name]), name
    output = capsys.readouterr().out
    assert "partial: last.norm.weight has shape (3,) instead of (1280,)" in output
    assert "partial: other is unexpected" in output
    assert "initialised 4 of 262 weights" in output


def test_partial_needs_something_that_fits(tmp_path: Path) -> None:
    native_weights("torch").write(tmp_path / "w.pth", {"stem.conv.weight": np.ones(3, "float32")})
    with pytest.raises(ReproError, match="nothing in the file fits mobilenet_v2_x0_35"):
        read_checkpoint(tmp_path / "w.pth", MODEL, partial=True, log=str)
    native_weights("torch").write(tmp_path / "w.pth", {"a": np.ones(3, "float32")})
    with pytest.raises(ReproError, match=r"no layout of mobilenet_v2_x0_35 has any of the names \(a, ...\)"):
        read_checkpoint(tmp_path / "w.pth", MODEL, partial=True, log=str)


@pytest.mark.parametrize("classes", ["0", "-3", "x"])
def test_impossible_classes(classes: str, tmp_path: Path) -> None:
    path = write_published("timm", tmp_path / "w.pth")
    with pytest.raises((ReproError, SystemExit)):
        main([str(path), str(tmp_path / "w.ckpt"), "--model", MODEL, "--num-classes", classes])
    assert not (tmp_path / "w.ckpt").exists()


def test_help_names_every_publisher(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert all(name in text for name in publishers() if name not in SHIPPED)
