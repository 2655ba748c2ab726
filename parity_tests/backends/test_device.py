"""Training on a GPU: everything is placed there, and where there is no GPU, the error is one line.

No GPU is needed: torch accepts "meta" as a device, and raises an error where its tensors meet those of the CPU.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity_tests.support import made_up
from parity_tests.support.made_up import QUICK, metrics
from repro.choices import OPTIMIZERS
from repro.data import open_dataset
from repro.run import main
from repro.specs import Spec
from repro.workers.client import interpreter


@pytest.mark.slow
def test_torch_places_everything_on_the_default_device(
    run_program: Callable[..., Any], require_backend: Callable[[str], None]
) -> None:
    require_backend("torch")
    devices = run_program("torch", "device:devices_of_torch", list(OPTIMIZERS))
    assert devices == {f"{name} float32": ["meta"] for name in OPTIMIZERS} | {"sgd bfloat16": ["meta"]}


@pytest.mark.slow
def test_batches_have_the_same_bits_where_torch_makes_them(
    run_program: Callable[..., Any], require_backend: Callable[[str], None]
) -> None:
    require_backend("torch")
    assert run_program("torch", "device:differences_of_uploaded_batches") == []


@pytest.mark.usefixtures("made_up_backend")
def test_a_run_uploads_pixels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """All images of training and validation go to the device as bytes."""
    images = 0

    class OnDevice(np.ndarray):
        pass

    def upload(array: np.ndarray) -> np.ndarray:
        nonlocal images
        images += len(array) if array.dtype == np.uint8 else 0
        return array.view(OnDevice)

    def step(trainer: made_up.SoftmaxRegression, batch: np.ndarray, *arguments: Any) -> Any:
        assert isinstance(batch, OnDevice)
        return original(trainer, np.asarray(batch), *arguments)

    original = made_up.SoftmaxRegression.step
    monkeypatch.setattr(made_up.Backend, "upload", upload)
    monkeypatch.setattr(made_up.SoftmaxRegression, "step", step)
    assert main([*QUICK, "--epochs", "1", "--out", str(tmp_path / "run")]) == 0
    digits = open_dataset("digits")
    assert images == len(digits.train) // 256 * 256 + len(digits.val)


@pytest.mark.slow
def test_a_run_on_the_gpu(backend: str, tmp_path: Path) -> None:
    """The loss is close to that of a run on the CPU; a framework that finds no GPU gives one line."""

    def run(device: str) -> subprocess.CompletedProcess[str]:
        command = [interpreter(backend), "-m", "repro.run", *QUICK, "--backend", backend, "--device", device]
        command += ["--image-size", "32", "--epochs", "1", "--out", str(tmp_path / device)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = run("gpu")
    if done.returncode == 0:
        assert " on cuda:0\n" in done.stdout or " on gpu:0\n" in done.stdout or " on GPU\n" in done.stdout
        assert run("cpu").returncode == 0
        (on_gpu,), (on_cpu,) = metrics(tmp_path / "gpu"), metrics(tmp_path / "cpu")
        assert on_gpu["train_loss"] == pytest.approx(on_cpu["train_loss"], rel=0.02)
    else:
        assert done.returncode == 1
        (line,) = done.stderr.strip().splitlines()
        assert line.startswith(f"error: --backend {backend} cannot compute on the gpu (")
        assert line.endswith("); leave --device out, or choose another backend")
        assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("made_up_backend")
def test_the_device_is_chosen_before_the_model_is_created(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[str] = []

    def create_model(spec: Spec) -> Spec:
        calls.append("create_model")
        return spec

    def use_device(device: str) -> str:
        calls.append(device)
        return f"{device}:0"

    monkeypatch.setattr(made_up.Backend, "use_device", use_device)
    monkeypatch.setattr(made_up.Backend, "create_model", create_model)
    assert main([*QUICK, "--epochs", "1", "--out", "run"]) == 0
    assert main([*QUICK, "--epochs", "1", "--out", "other", "--device", "gpu"]) == 0
    assert calls == ["cpu", "create_model", "gpu", "create_model"]
    assert capsys.readouterr().out.count("torch 1.0 on gpu:0\n") == 1
    assert main(["--resume", "--out", "other", "--device", "cpu"]) == 0
    assert calls[4:] == ["cpu", "create_model"]
