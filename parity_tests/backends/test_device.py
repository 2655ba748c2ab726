"""Computing on a GPU: everything is put there, and where there is none, one line says so.

No GPU is needed: to torch, "meta" is a device, too, and what was left on the CPU beside it is an error.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from parity_tests.support import made_up
from parity_tests.support.made_up import QUICK, metrics
from repro.choices import OPTIMIZERS
from repro.run import main
from repro.specs import Spec
from repro.workers.client import interpreter

PLACED = """
import sys
from contextlib import nullcontext
import numpy as np
import torch
from backends.torch import create_model, create_trainer, set_dropout_source, forward
from repro.interface.dropout_source import SeededDropout
from repro.interface import TrainSettings
from repro.specs import find_spec
from repro.weights.init import initialise

def numpy(tensor, *, force=False):  # a meta tensor has no numbers
    assert force, "what is on a GPU must be fetched"
    return np.zeros(tensor.shape, str(tensor.dtype).removeprefix("torch."))

def autocast(device, dtype):  # which has no mixed precision
    assert device == "meta"
    return nullcontext()

torch.Tensor.numpy, torch.Tensor.item, torch.autocast = numpy, lambda tensor: 1.0, autocast
torch.set_default_device("meta")
spec = find_spec("efficientnet_v2_b0", num_classes=4, dropout=0.5, drop_path=0.5)
weights = initialise(spec, 0)
images = np.zeros((4, 3, 32, 32), np.float32)
soft = np.full((4, 4), 0.25, np.float32)
cases = [(optimizer, "float32") for optimizer in sys.argv[1:]] + [("sgd", "bfloat16")]
for optimizer, precision in cases:
    model = create_model(spec)
    set_dropout_source(model, SeededDropout(0))
    settings = TrainSettings(
        optimizer=optimizer, precision=precision, clip_norm=1.0, ema_decay=0.9, label_smoothing=0.1, weight_decay=0.1
    )
    trainer = create_trainer(model, settings)
    trainer.load_weights(weights)
    trainer.load_state({})
    for targets in (np.arange(4), soft):
        loss, logits = trainer.step(images, targets, 0.1)
        assert logits.shape == (4, 4)
        trainer.load_state(trainer.state())
    trainer.update({name: weights[name] for name in settings.trained_shapes(spec)}, 0.1)
    assert trainer.loss(soft, np.arange(4))[1].shape == trainer.predict(images).shape == (4, 4)
    assert forward(model, images)["logits"].shape == (4, 4)
    assert trainer.weights().keys() == trainer.ema_weights().keys() == weights.keys()
    held = [*model.parameters(), *model.buffers(), *trainer.ema.values()]
    assert {tensor.device.type for tensor in held} == {"meta"}
print("placed")
"""


def test_torch_puts_everything_on_the_default_device(
    run_in: Callable[[str, str], str], require_backend: Callable[[str], None]
) -> None:
    require_backend("torch")
    arguments = f"import sys; sys.argv += {list(OPTIMIZERS)!r}\n"
    assert run_in("torch", arguments + PLACED).endswith("placed\n")


def test_a_run_on_the_gpu(backend: str, tmp_path: Path) -> None:
    """Near one on the CPU; and of a framework that finds no GPU, one line."""

    def run(device: str) -> subprocess.CompletedProcess[str]:
        command = [interpreter(backend), "-m", "repro.run", *QUICK, "--backend", backend, "--device", device]
        command += ["--image-size", "32", "--epochs", "1", "--out", str(tmp_path / device)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = run("gpu")
    if done.returncode == 0:
        assert " on cuda:0\n" in done.stdout or " on gpu:0\n" in done.stdout or " on GPU\n" in done.stdout
        assert run("cpu").returncode == 0
        (found,), (wanted,) = metrics(tmp_path / "gpu"), metrics(tmp_path / "cpu")
        assert found["train_loss"] == pytest.approx(wanted["train_loss"], rel=0.02)
    else:
        assert done.returncode == 1
        (line,) = done.stderr.strip().splitlines()
        assert line.startswith(f"error: --backend {backend} cannot compute on the gpu (")
        assert line.endswith("); leave --device out, or take another backend")
        assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("made_up_backend")
def test_the_device_is_chosen_before_anything_is_made(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[str] = []

    def create_model(spec: Spec) -> Spec:
        told.append("made")
        return spec

    def use(device: str) -> str:
        told.append(device)
        return f"{device}:0"

    monkeypatch.setattr(made_up.Backend, "use", use)
    monkeypatch.setattr(made_up.Backend, "create_model", create_model)
    assert main([*QUICK, "--epochs", "1", "--out", "run"]) == 0
    assert main([*QUICK, "--epochs", "1", "--out", "other", "--device", "gpu"]) == 0
    assert told == ["cpu", "made", "gpu", "made"]
    assert capsys.readouterr().out.count("torch 1.0 on gpu:0\n") == 1
    assert main(["--resume", "--out", "other", "--device", "cpu"]) == 0
    assert told[4:] == ["cpu", "made"]
