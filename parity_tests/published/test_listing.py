"""repro.models --pretrained and repro.published.listing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from repro.errors import ReproError
from repro.models import main
from repro.published.lookup import table


def printed(capsys: pytest.CaptureFixture[str], *argv: str) -> list[str]:
    """Return the lines that the command prints."""
    assert main(["--pretrained", *argv]) == 0
    return capsys.readouterr().out.splitlines()


def test_every_published_file_is_listed(empty_caches: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys)
    assert [line.split()[1] for line in lines[1:-1]] == [entry.reference for entry in table()]
    assert lines[-1] == f"{len(table())} weight files, 0 cached"
    assert all(line == line.rstrip() for line in lines)


def test_the_files_of_a_variant_and_those_cached(empty_caches: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = empty_caches / ".cache/torch/hub/checkpoints/mobilenet_v2-b0353104.pth"
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes(1_500_000))
    lines = printed(capsys, "mobilenet_v2")
    assert lines[0].split() == ["variant", "reference", "MB", "top-1", "input", "cached", "license"]
    assert all(line.split()[0] == "mobilenet_v2" for line in lines[1:-1])
    words = {line.split()[1]: line.split()[2:] for line in lines[1:-1]}
    assert words["torchvision:mobilenet_v2.IMAGENET1K_V2"] == ["14.3", "72.2%", "224", "no", "-"]
    assert words["torchvision:mobilenet_v2.IMAGENET1K_V1"] == ["1.5", "71.9%", "224", "yes", "-"]
    assert words["paddle.vision:mobilenet_v2"] == ["-", "-", "-", "no", "-"]
    assert lines[-1] == f"{len(words)} weight files, 1 cached"
    (row,) = [row for row in json.loads("\n".join(printed(capsys, "mobilenet_v2", "--json"))) if row["cached"]]
    assert row == {
        "variant": "mobilenet_v2", "reference": "torchvision:mobilenet_v2.IMAGENET1K_V1", "size": 1_500_000,
        "top1": 0.71878, "image_size": 224, "crop_fraction": 0.875, "interpolation": "bilinear", "license": None,
        "cached": str(path),
    }  # fmt: skip


def test_a_variant_without_published_weights(empty_caches: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "asymmnet_large")[1:] == ["0 weight files, 0 cached"]


def test_wrong_arguments_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ReproError, match="unknown model 'vgg61': did you mean"):
        main(["--pretrained", "vgg61"])
    with pytest.raises(SystemExit):
        main(["--pretrained", "vgg16", "--num-classes", "5"])
