"""A published file as it is, by one command to the classes of real photographs, on every backend alike."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from parity_tests.conftest import RunProgram
from repro import port
from repro.interface.discovery import SHIPPED
from repro.published.lookup import imagenet_classes
from repro.published.source import locate_weights

EXPECTED = {  # photograph -> class and probability, as torchvision's own code gave them
    "flower_photos/daisy/100080576_f52e8ee070_n.jpg": ("daisy", 0.9917),
    "flower_photos/daisy/10140303196_b88d3d6cec.jpg": ("daisy", 0.9945),
    "caltech16/grand_piano/image_0002.jpg": ("grand piano", 0.9993),
}


def predictions(path: Path) -> tuple[list[str], np.ndarray]:
    """The predicted classes and all probabilities in a file of repro.predict --csv."""
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    assert tuple(header[3:]) == imagenet_classes()
    return [row[1] for row in rows], np.array([row[3:] for row in rows], np.float64)


@pytest.mark.slow
def test_photographs_are_classified_alike_on_every_backend(
    mobilenet_file: Path,
    photographs: Path,
    require_backend: Callable[[str], None],
    run_program: RunProgram,
    tmp_path: Path,
) -> None:
    images = [str(photographs / name) for name in EXPECTED]
    require_backend("torch")
    reference = np.array(run_program("torch", "published:torchvision_probabilities", str(mobilenet_file), images))
    for backend in SHIPPED:
        require_backend(backend)
        output = tmp_path / f"{backend}.csv"
        flags = ["--backend", backend, "--csv", str(output)]
        run_program(backend, "published:predict", [str(mobilenet_file), *images, *flags])
        classes, probabilities = predictions(output)
        assert classes == [name for name, _ in EXPECTED.values()]
        assert probabilities.max(1) == pytest.approx([value for _, value in EXPECTED.values()], abs=5e-5)
        assert np.abs(probabilities - reference).max() <= 2e-6, backend


def test_a_file_is_recognised_by_its_name_and_hash(mobilenet_file: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    source = locate_weights(mobilenet_file, log=lines.append)
    assert lines == ["recognised torchvision:mobilenet_v2.IMAGENET1K_V1 by its name and hash"]
    assert (source.path, source.model, source.layout) == (mobilenet_file, "mobilenet_v2", "torchvision")
    assert {"classes", "mean", "std", "image_size", "crop_fraction"} <= source.metadata.keys()
    for model, layout in ((None, "torch"), ("vgg16", "auto")):  # the user knows better
        source = locate_weights(mobilenet_file, model, layout, log=lines.append)
        assert (source.model, source.layout, source.metadata) == (model, layout, {})
    changed = tmp_path / mobilenet_file.name
    changed.write_bytes(mobilenet_file.read_bytes()[:-1] + b"?")
    renamed = tmp_path / "renamed.pth"
    shutil.copyfile(mobilenet_file, renamed)
    for path in (changed, renamed, tmp_path / "missing" / mobilenet_file.name):
        assert locate_weights(path, log=lines.append).metadata == {}
    assert len(lines) == 1


def test_the_help_of_port_fits_on_a_screen_and_its_example_works(
    mobilenet_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for columns in ("80", "120"):
        monkeypatch.setenv("COLUMNS", columns)
        with pytest.raises(SystemExit):
            port.main(["--help"])
        text = capsys.readouterr().out
        assert len(text.splitlines()) <= 40
    command = text[text.index("example: ") :].split()
    assert command[1:4] == ["python", "-m", "repro.port"]
    source, destination = command[4:]
    Path(source).symlink_to(mobilenet_file)
    assert port.main([source, destination]) == 0
    assert f"wrote {destination} in the layout of mindspore: weights\n" in capsys.readouterr().out
