"""repro.published.lookup: references, the publishers' packages, caches."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from repro.errors import ReproError
from repro.published import lookup
from repro.published.entry import PUBLISHERS, PublishedWeights
from repro.published.lookup import fetch, find, imagenet_classes, is_reference, models_of, table
from repro.specs import find_spec

ONE_OF_EACH = ["torchvision:mobilenet_v2", "timm:rdnet_tiny.nv_in1k", "paddle.vision:resnet50", "mindcv:resnet50",
               "keras:MobileNetV2(alpha=0.35)"]  # fmt: skip


def test_every_entry_is_of_a_known_variant_and_has_one_source() -> None:
    assert len(table()) > 100
    for entry in table():
        find_spec(entry.variant)
        assert bool(entry.url) != bool(entry.hub), entry.reference
        assert is_reference(entry.reference)
        assert entry.variant in models_of(entry.publisher)
    assert {entry.publisher for entry in table()} == set(PUBLISHERS)
    assert len({entry.reference for entry in table()}) == len(table())


def test_imagenet_has_a_thousand_distinct_class_names() -> None:
    assert len(set(imagenet_classes())) == 1000
    assert imagenet_classes()[985] == "daisy"


@pytest.mark.slow
@pytest.mark.parametrize("reference", ONE_OF_EACH)
def test_the_table_says_what_the_installed_package_says(
    reference: str, require_backend: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    require_backend(PUBLISHERS[reference.partition(":")[0]])
    by_package = find(reference)
    monkeypatch.setattr(lookup, "ask_package", lambda publisher, models: None)
    assert find(reference) == by_package


def test_a_name_without_a_tag_is_the_publishers_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "ask_package", lambda publisher, models: None)
    assert find("torchvision:mobilenet_v2").name == "mobilenet_v2.IMAGENET1K_V2"
    assert find("torchvision:mobilenet_v2.IMAGENET1K_V1").sha256 == "b0353104"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("torchvision:mobilnet_v2", "unknown weights of torchvision 'mobilnet_v2': did you mean mobilenet_v2"),
        ("timm:nothing_like_it", "unknown weights of timm"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest_ones(reference: str, message: str) -> None:
    with pytest.raises(ReproError, match=message):
        find(reference)


def test_paths_are_no_references(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "timm:file").write_text("")
    for text in ("best.safetensors", "C:/weights.pth", "timm:", "timm:file"):
        assert not is_reference(text)


def entry_of(url: str, content: bytes) -> PublishedWeights:
    return PublishedWeights(
        publisher="torchvision", name="small", variant="mobilenet_v2", file="small-1.pth", url=url,
        sha256=hashlib.sha256(content).hexdigest()[:8],
    )  # fmt: skip


def test_a_file_is_downloaded_into_the_publishers_cache_once(empty_caches: Path, tmp_path: Path) -> None:
    served = tmp_path / "served"
    served.mkdir()
    (served / "small-1.pth").write_bytes(b"weights")
    handler = partial(SimpleHTTPRequestHandler, directory=str(served))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        entry = entry_of(f"http://127.0.0.1:{server.server_port}/small-1.pth", b"weights")
        assert entry.cached is None
        path = fetch(entry)
        server.shutdown()
    assert path == empty_caches / ".cache/torch/hub/checkpoints/small-1.pth"
    assert path.read_bytes() == b"weights"
    assert fetch(entry) == entry.cached == path  # with the server gone


def test_without_a_network_the_message_names_the_place(empty_caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("repro.published.download.PAUSE", 0.0)
    with pytest.raises(ReproError, match=r"download it yourself and place it at .*checkpoints/small-1\.pth") as caught:
        fetch(entry_of("http://127.0.0.1:9/small-1.pth", b""))
    assert "\n" not in str(caught.value)


def test_a_file_in_the_hugging_face_cache_is_found(empty_caches: Path) -> None:
    entry = replace(find_in_table("timm:rdnet_tiny.nv_in1k"))
    assert entry.cached is None
    folder = empty_caches / ".cache/huggingface/hub/models--naver-ai--rdnet_tiny.nv_in1k/snapshots/0123"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"")
    assert fetch(entry) == folder / "model.safetensors"


def find_in_table(reference: str) -> PublishedWeights:
    return next(entry for entry in table() if entry.reference == reference)
