"""Tests of repro.bench: its arguments, errors and files, and each measurement once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from parity_tests.support.image_folders import write_photos
from repro.bench import main
from repro.benchmarks import data as data_benchmark
from repro.benchmarks.measurement import SpeedComparison
from repro.benchmarks.process import in_process
from repro.benchmarks.report import describe_environment, processor
from repro.data import open_dataset
from repro.errors import ReproError
from repro.interface.discovery import SHIPPED
from repro.interface.launch import launch_command
from repro.interface.peers import load_peers, missing_peer, peer_name
from repro.plots.ratios import Bar, draw_ratios
from repro.specs import find_spec

MODEL = "mobilenet_v3_small"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["--model", "rdnet_large"], "invalid choice: 'rdnet_large'"),  # the command before it had sub-commands
        (["step"], "the following arguments are required: --backend"),
        (["data"], "the following arguments are required: --data"),
        (["loop", "--backend", "torch"], "the following arguments are required: --model"),
        (["start", "--backend", "torch"], "the following arguments are required: --model"),
        (["step", "--backend", "torch", "--rounds", "0"], "argument --rounds: must be at least 1, not 0"),
        (["step", "--backend", "torch", "--batch-size", "x"], "must be a whole number, not 'x'"),
        (["data", "--data", "digits", "--workers", "-1"], "must be a whole number, not '-1'"),
    ],
)
def test_bad_arguments(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["step", "--backend", "jax"], "unknown backend 'jax'"),
        (["step", "--backend", "torch", "--models", "mobilnet_v2"], "unknown model 'mobilnet_v2': did you mean"),
        (
            ["loop", "--backend", "torch", "--model", "asymmnet_large"],
            "asymmnet_large has no peer in the zoo of torch",
        ),
        (["loop", "--backend", "paddle", "--model", "rdnet_tiny"], "rdnet_tiny has no peer in the zoo of paddle"),
        (["start", "--backend", "torch", "--model", "resnet49"], "unknown model 'resnet49': did you mean"),
        (["start", "--backend", "tensorflow", "--model", MODEL], "unknown backend 'tensorflow'"),
        (["data", "--data", "no/such/folder"], "no/such/folder"),
        (["step", "--backend", "torch", "--json", "no/such/times.json"], "there is no folder no/such; make it first"),
        (
            ["data", "--data", "digits", "--batch-size", "2000"],
            "less than a batch of 2000; give a smaller --batch-size",
        ),
    ],
)
def test_bad_values_are_one_line(arguments: list[str], message: str) -> None:
    with pytest.raises(ReproError) as caught:
        main(arguments)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def measured(*_: object, **__: object) -> Iterator[SpeedComparison]:
    """Yield what a measurement would."""
    yield SpeedComparison(f"{MODEL}, evaluation", "ms", {"ours": [1.0, 2.0], "zoo": [3.0, 4.0]})


def test_files_of_a_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("repro.benchmarks.step.measure_steps", measured)
    files = tmp_path / "times.json", tmp_path / "ratios.png"
    flags = ["--models", MODEL, "--json", str(files[0]), "--figure", str(files[1])]
    assert main(["step", "--backend", "paddle", *flags]) == 0
    assert "zoo" in capsys.readouterr().out.splitlines()[-1]
    report = json.loads(files[0].read_text())
    assert report["settings"] == {
        "command": "step", "backend": "paddle", "models": [MODEL], "image_size": 224, "batch_size": 8, "device": "cpu",
        "precision": "float32", "rounds": 10,
    }  # fmt: skip
    assert report["versions"].keys() == {"python", "repro", "numpy", "pillow", "paddlepaddle"}
    assert report["versions"]["numpy"] == np.__version__
    assert report["machine"]["cores"] >= report["machine"]["physical"] >= 1
    (comparison,) = report["comparisons"]
    assert comparison["values"] == {"ours": [1, 2], "zoo": [3, 4]}
    assert Image.open(files[1]).size[0] == 1000


def test_a_package_that_is_missing_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_peers("torch"), "PACKAGES", ("no-such-package",))
    assert describe_environment("torch")["versions"]["no-such-package"] is None


def test_the_name_of_the_processor(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: A Processor: Fast\n")
    assert processor(tmp_path / "cpuinfo") == "A Processor: Fast"
    assert isinstance(processor(tmp_path / "none"), str)


def test_bars_of_both_colors(tmp_path: Path) -> None:
    draw_ratios([Bar("a $1 task", 2.0, 0.1), Bar("another", 0.5, 0.0)], "a title", tmp_path / "ratios.png")
    pixels = np.asarray(Image.open(tmp_path / "ratios.png").convert("RGB")).reshape(-1, 3)
    assert {(59, 122, 87), (209, 73, 91)} <= {tuple(map(int, pixel)) for pixel in np.unique(pixels, axis=0)}


@pytest.mark.parametrize("name", SHIPPED)
def test_peers_are_known_without_the_framework(name: str) -> None:
    peers = load_peers(name)
    assert MODEL in peers.ZOO
    for model in peers.ZOO:
        find_spec(model)
    assert peer_name(name, MODEL) == peers.ZOO[MODEL]
    message = str(missing_peer(name, ImportError("No module named 'x'")))
    assert message == f"the peer of {name} cannot be imported (No module named 'x'); pip install " + " ".join(
        peers.PACKAGES
    )


def test_an_unknown_launcher() -> None:
    with pytest.raises(ReproError, match=r"^unknown launcher of the backend 'jax'"):
        launch_command("jax", 2, Path("logs"))


def test_errors_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ReproError, match=r"^unknown model 'resnet49': did you mean"):
        in_process("torch", "repro.interface.peers:peer_name", "torch", "resnet49")
    with pytest.raises(ReproError, match=r"^backend torch failed with exit code 1: AttributeError: .*nothing"):
        in_process("torch", "repro.interface.peers:nothing")
    monkeypatch.setenv("REPRO_TORCH_PYTHON", "/no/such/python")
    with pytest.raises(ReproError, match=r"^backend torch: cannot start /no/such/python .*; set REPRO_TORCH_PYTHON to"):
        in_process("torch", "repro.interface.peers:peer_name", "torch", MODEL)


def test_the_sample_of_a_large_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_benchmark, "MOST_IMAGES", 100)
    digits = open_dataset("digits")
    sample = data_benchmark.sample(digits, 32)
    assert len(sample.train) == 96
    assert sample.train.names[0] == digits.train.names[0]
    assert len(data_benchmark.sample(digits, 128).train) == 128


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "1"])
def test_loaders(workers: str, tmp_path: Path, require_package: Callable[[str], None]) -> None:
    require_package("torchvision")
    write_photos(tmp_path / "photos", count=5)
    sizes = ["--image-size", "8", "--batch-size", "4", "--rounds", "2", "--workers", workers]
    files = ["--json", str(tmp_path / "times.json")]
    assert main(["data", "--data", str(tmp_path / "photos"), *sizes, *files]) == 0
    (comparison,) = json.loads((tmp_path / "times.json").read_text())["comparisons"]
    assert comparison["task"] == f"photos, {workers} workers"
    assert {name: len(values) for name, values in comparison["values"].items()} == {
        "ours": 2, "torchvision": 2, "decoding alone": 2,
    }  # fmt: skip


def test_loaders_without_torchvision(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Our loader and decoding are still measured for data that are not a folder, and without torchvision."""
    rates, note = data_benchmark.compare_loaders("digits", 0, 8, 256, 1)
    assert list(rates) == ["ours", "decoding alone"]
    assert note == "without torchvision: its loader reads images in folders, and those of digits are stored otherwise"

    def batches(*_: object, **__: object) -> None:
        raise ImportError("No module named 'torchvision'")

    monkeypatch.setattr(load_peers("torch"), "batches", batches)
    write_photos(tmp_path / "photos", count=5)
    rates, note = data_benchmark.compare_loaders(str(tmp_path / "photos"), 0, 8, 4, 1)
    assert list(rates) == ["ours", "decoding alone"]
    assert note.startswith("without torchvision: the peer of torch cannot be imported (No module named 'torchvision')")


def measure(tmp_path: Path, *arguments: str) -> dict[str, dict[str, Any]]:
    """Return the comparisons of a command by task."""
    path = tmp_path / "times.json"
    assert main([*arguments, "--rounds", "1", "--json", str(path)]) == 0
    return {item["task"]: item for item in json.loads(path.read_text())["comparisons"]}


@pytest.mark.slow
def test_steps(backend: str, tmp_path: Path, require_package: Callable[[str], None]) -> None:
    require_package({"torch": "torchvision", "paddle": "paddle", "mindspore": "mindcv"}[backend])
    tasks = measure(
        tmp_path, "step", "--backend", backend, "--models", MODEL, "--image-size", "32", "--batch-size", "2"
    )
    assert list(tasks) == [f"{MODEL}, evaluation", f"{MODEL}, training step"]
    for item in tasks.values():
        zoo = ["zoo", "zoo, channels_last"] if backend == "torch" else ["zoo"]
        assert list(item["values"]) == ["ours", "ours, plain loop", *zoo]
        assert all(value > 0 for values in item["values"].values() for value in values)


@pytest.mark.slow
def test_steps_of_a_network_that_no_zoo_has(tmp_path: Path, require_backend: Callable[[str], None]) -> None:
    require_backend("torch")
    flags = ["--models", "asymmnet_small_x0_35", "--image-size", "32", "--batch-size", "2"]
    for item in measure(tmp_path, "step", "--backend", "torch", *flags).values():
        assert list(item["values"]) == ["ours", "ours, plain loop"]


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "processes"), [("torch", 1), ("torch", 2), ("paddle", 2), ("mindspore", 2)])
def test_loops(
    backend: str, processes: int, tmp_path: Path, require_backend: Callable[[str], None],
    require_package: Callable[[str], None],
) -> None:  # fmt: skip
    """Each rank decodes its share of the images."""
    require_backend(backend)
    require_package({"torch": "torchvision", "paddle": "paddle", "mindspore": "mindcv"}[backend])
    flags = ["--model", MODEL, "--image-size", "32", "--batch-size", "4", "--processes", str(processes)]
    tasks = measure(tmp_path, "loop", "--backend", backend, *flags)
    parts = [f"{MODEL}, {part}" for part in ("data", "step", "data + step")]
    assert list(tasks)[:3] == parts
    for part in parts:
        assert {name: len(values) for name, values in tasks[part]["values"].items()} == {"ours": 10, "bare loop": 10}
    if processes == 2:
        assert tasks[f"{MODEL}, decoded of 48"]["values"] == {"rank 0": [24], "rank 1": [24]}
        assert len(tasks[f"{MODEL}, step of 2 processes"]["values"]["rank 1"]) == 10


@pytest.mark.slow
def test_starts(backend: str, tmp_path: Path) -> None:
    tasks = measure(tmp_path, "start", "--backend", backend, "--model", "asymmnet_small_x0_35")
    values = tasks["asymmnet_small_x0_35, until the first step"]["values"]
    assert list(values) == ["ours", f"import {backend}"]
    assert all(seconds > 0 for measured in values.values() for seconds in measured)


@pytest.mark.slow
def test_conversions(capsys: pytest.CaptureFixture[str], require_machine: Callable[[bool, str], None]) -> None:
    require_machine(Path("/proc/self/status").exists(), "Linux")
    assert main(["port", "--model", "asymmnet_small_x0_35_r0"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3 + 1 + 16
