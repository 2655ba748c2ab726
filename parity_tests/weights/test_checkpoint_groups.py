"""Checkpoints with an EMA and an optimizer's state, converted between the frameworks."""

from __future__ import annotations

import json
import subprocess
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from repro.errors import ReproError
from repro.interface import TrainSettings
from repro.interface.discovery import native_weights
from repro.port import main
from repro.specs import STATISTICS, find_spec
from repro.weights import safetensors_file
from repro.weights.formats import write_file
from repro.weights.init import random_weights
from repro.weights.porting import Checkpoint, read_checkpoint, write_checkpoint
from repro.workers.client import interpreter

MODEL = "mobilenet_v2_x0_35"
SPEC = find_spec(MODEL, num_classes=5)
WEIGHTS, EMA = random_weights(SPEC, 1), random_weights(SPEC, 2)
TRAINED = [name for name, weight in SPEC.weights.items() if weight.kind not in STATISTICS]
RNG = np.random.default_rng(0)
SLOTS = {
    slot: {name: RNG.standard_normal(SPEC.weights[name].shape).astype("float32") for name in TRAINED}
    for slot in ("velocity", "moment1", "moment2")
}
STEPS = 12_345
SUFFIXES = [".safetensors", ".pth", ".pdparams", ".ckpt"]


def same(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> bool:
    return left.keys() == right.keys() and all(left[name].tobytes() == right[name].tobytes() for name in left)


def complete_checkpoint() -> Checkpoint:
    return Checkpoint(SPEC, WEIGHTS, EMA, SLOTS, STEPS)


def assert_complete(path: Path) -> None:
    checkpoint = read_checkpoint(path, MODEL, log=str)
    assert same(checkpoint.weights, WEIGHTS)
    assert same(checkpoint.ema, EMA)
    assert checkpoint.slots.keys() == SLOTS.keys()
    assert all(same(checkpoint.slots[slot], arrays) for slot, arrays in SLOTS.items())
    assert checkpoint.steps == STEPS


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_ema_and_optimizer_are_converted(suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_checkpoint(tmp_path / f"a{suffix}", complete_checkpoint())
    assert_complete(tmp_path / f"a{suffix}")
    for other in SUFFIXES:
        assert main([str(tmp_path / f"a{suffix}"), str(tmp_path / f"b{other}"), "--model", MODEL]) == 0
        output = capsys.readouterr().out
        assert f"read the optimizer's step count: {STEPS}\n" in output
        contents = "weights, ema, optimizer/velocity, optimizer/moment1, optimizer/moment2, optimizer/steps\n"
        assert output.endswith(contents)
        assert_complete(tmp_path / f"b{other}")
    assert main([str(tmp_path / f"a{suffix}"), str(tmp_path / "c.pth"), "--model", MODEL, "--weights-only"]) == 0
    assert same(native_weights("torch").read(tmp_path / "c.pth"), WEIGHTS)
    checkpoint = read_checkpoint(tmp_path / "c.pth", MODEL, log=str)
    assert not checkpoint.ema
    assert not checkpoint.slots
    assert checkpoint.steps is None


def test_published_layout_names_all_groups(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a.pth", complete_checkpoint(), "timm")
    names = set(native_weights("torch").read(tmp_path / "a.pth"))
    assert {"weights/conv_stem.weight", "ema/conv_stem.weight", "optimizer/velocity/conv_stem.weight"} <= names
    assert_complete(tmp_path / "a.pth")


def test_keras_files_hold_only_weights(tmp_path: Path) -> None:
    spec = find_spec("resnet50_v2_keras", num_classes=2)
    with pytest.raises(ReproError, match="cannot hold an EMA or an optimizer; use --weights-only"):
        write_checkpoint(tmp_path / "a.h5", Checkpoint(spec, {}, {"a": np.ones(1)}))


@pytest.mark.parametrize("wrapper", ["state_dict_ema", "model_ema", "ema"])
def test_ema_under_usual_names(wrapper: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays = {f"state_dict/module.{name}": array for name, array in WEIGHTS.items()}
    arrays |= {f"{wrapper}/module.{name}": array for name, array in EMA.items()}
    write_file(tmp_path / "a.pth", arrays, {})
    checkpoint = read_checkpoint(tmp_path / "a.pth", MODEL)
    assert same(checkpoint.weights, WEIGHTS)
    assert same(checkpoint.ema, EMA)
    output = capsys.readouterr().out
    assert "read the weights under 'state_dict'" in output
    assert f"read the EMA under '{wrapper}'" in output
    write_file(tmp_path / "b.pth", {n: a for n, a in arrays.items() if not n.startswith("state_dict/")}, {})
    assert same(
        read_checkpoint(tmp_path / "b.pth", MODEL, log=str).weights, EMA
    )  # the EMA serves as the weights if there is nothing else


def test_arrays_without_a_weight_are_skipped_and_logged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays = {f"weights/{name}": array for name, array in WEIGHTS.items()}
    misfits = {"optimizer/velocity/stem.conv.weight": np.ones((2, 2), "float32"), "other/x": np.ones(3)}
    write_file(tmp_path / "a.pth", arrays | misfits, {})
    assert not read_checkpoint(tmp_path / "a.pth", MODEL).slots
    output = capsys.readouterr().out
    assert "skipped the optimizer's velocity: stem.conv.weight has shape (2, 2)" in output
    assert "skipped 1 other arrays" in output


# What plain users do. sys.argv: our weights alone, our checkpoint, and where to write theirs
USERS = {
    "torch": """
import sys, torch
from backends.torch import create_model
model = create_model(MODEL, num_classes=5)
assert [name for name, _ in model.named_parameters()] == TRAINED
model.load_state_dict(torch.load(sys.argv[1], weights_only=True))
optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
model.train()(torch.ones(2, 3, 32, 32)).sum().backward()
optimizer.step()
ours = torch.load(sys.argv[2], weights_only=True)
model.load_state_dict(ours["ema"])
model.load_state_dict(ours["weights"])
adam = torch.optim.Adam(model.parameters())
adam.step()
for name, parameter in model.named_parameters():
    optimizer.state[parameter]["momentum_buffer"].copy_(ours["optimizer"]["velocity"][name])
    adam.state[parameter]["exp_avg"].copy_(ours["optimizer"]["moment1"][name])
    adam.state[parameter]["exp_avg_sq"].copy_(ours["optimizer"]["moment2"][name])
    adam.state[parameter]["step"].copy_(ours["optimizer"]["steps"])
model.load_state_dict(ours["weights"])
states = {"opt": optimizer.state_dict(), "optimizer": adam.state_dict()}
torch.save({"model": model.state_dict(), **states, "ema": ours["ema"]}, sys.argv[3])
""",
    "paddle": """
import sys, paddle
from backends.paddle import create_model
model = create_model(MODEL, num_classes=5)
assert model.set_state_dict(paddle.load(sys.argv[1])) == ([], [])
ours = paddle.load(sys.argv[2])
assert model.set_state_dict(ours["ema"]) == ([], [])
assert model.set_state_dict(ours["weights"]) == ([], [])
averages = {name: paddle.to_tensor(value) for name, value in ours["ema"].items()}
steps = ours["optimizer"].pop("steps")
slots = {slot: {name: paddle.to_tensor(value) for name, value in arrays.items()}
         for slot, arrays in ours["optimizer"].items()}
paddle.save({"model": model.state_dict(), "ema": averages, "optimizer": {"steps": steps, **slots}}, sys.argv[3])
""",
    "mindspore": """
import sys, mindspore
from mindspore import nn
from backends.mindspore import create_model
model = create_model(MODEL, num_classes=5)
assert mindspore.load_param_into_net(model, mindspore.load_checkpoint(sys.argv[1]), strict_load=True) == ([], [])
optimizer = nn.Momentum(model.trainable_params(), 0.1, 0.9)
ours = mindspore.load_checkpoint(sys.argv[2])
assert mindspore.load_param_into_net(model, ours)[0] == []
adam = nn.Adam(model.trainable_params())
for one in (optimizer, adam):
    missing = mindspore.load_param_into_net(one, ours)[0]
    assert not [name for name in missing if name.startswith(("moments.", "moment1.", "moment2.", "global"))], missing
averages = [{"name": name, "data": value} for name, value in ours.items() if name.startswith("ema.")]
parts = {part.name: part for one in (model, optimizer, adam) for part in one.get_parameters()}
assert {"global_step", "beta1_power", "beta2_power"} <= parts.keys()
mindspore.save_checkpoint([{"name": name, "data": part} for name, part in parts.items()] + averages, sys.argv[3])
""",
}


@pytest.mark.parametrize("name", USERS)
def test_plain_users_load_and_write_them(name: str, tmp_path: Path, require_backend) -> None:
    require_backend(name)
    suffix = native_weights(name).EXTENSIONS[0]
    alone, ours, theirs = (tmp_path / f"{which}{suffix}" for which in ("alone", "ours", "theirs"))
    write_checkpoint(alone, Checkpoint(SPEC, WEIGHTS))
    write_checkpoint(ours, complete_checkpoint())
    code = f"MODEL, TRAINED = {MODEL!r}, {TRAINED}\n" + USERS[name]
    user = subprocess.run(
        [interpreter(name), "-c", code, str(alone), str(ours), str(theirs)], capture_output=True, text=True, check=False
    )
    assert user.returncode == 0, user.stderr[-3000:]
    assert_complete(theirs)


# A safetensors file in each framework's own names, by safetensors and nothing of ours but the model
SAFETENSORS = {
    "torch": """
from safetensors.torch import load_file
model.load_state_dict(load_file(sys.argv[1]))
""",
    "paddle": """
from safetensors.paddle import load_file
assert model.set_state_dict(load_file(sys.argv[1])) == ([], [])
""",
    "mindspore": """
import mindspore
loaded = mindspore.load_checkpoint(sys.argv[1], format="safetensors")
assert mindspore.load_param_into_net(model, loaded, strict_load=True) == ([], [])
""",
}


@pytest.mark.parametrize("name", SAFETENSORS)
def test_safetensors_in_each_framework(name: str, tmp_path: Path, require_backend) -> None:
    require_backend(name)
    path = tmp_path / "w.safetensors"
    write_checkpoint(path, Checkpoint(SPEC, WEIGHTS), name)
    code = f"""
import json, sys
import numpy as np
from backends.{name} import create_model, export_weights
model = create_model({MODEL!r}, num_classes=5)
{SAFETENSORS[name]}
print(json.dumps({{name: float(np.sum(array * np.arange(array.size).reshape(array.shape), dtype=np.float64))
                   for name, array in export_weights(model).items()}}))
"""
    user = subprocess.run([interpreter(name), "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert user.returncode == 0, user.stderr[-3000:]
    sums = json.loads(user.stdout.splitlines()[-1])
    for key, array in WEIGHTS.items():
        assert sums[key] == np.sum(array * np.arange(array.size).reshape(array.shape), dtype=np.float64), key


@pytest.mark.parametrize("target", SUFFIXES)
@pytest.mark.parametrize("source", SUFFIXES)
def test_memory_stays_near_the_largest_array(source: str, target: str, tmp_path: Path) -> None:
    spec = find_spec("shufflenet_v2_x1_5")
    arrays = {name: np.zeros(weight.shape, "float32") for name, weight in spec.weights.items()}
    largest = max(array.nbytes for array in arrays.values())
    assert sum(array.nbytes for array in arrays.values()) > 3 * largest
    write_checkpoint(tmp_path / f"a{source}", Checkpoint(spec, arrays))
    del arrays
    tracemalloc.start()
    try:
        write_checkpoint(tmp_path / f"b{target}", read_checkpoint(tmp_path / f"a{source}", spec.name, log=str))
        assert tracemalloc.get_traced_memory()[1] < 1.5 * largest + 4e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("suffix", [".pth", ".pdparams", ".ckpt"])
def test_run_folder_checkpoint_survives_a_round_trip(suffix: str, tmp_path: Path) -> None:
    """Convert last.safetensors of a run folder, whose EMA covers only trained weights, to a native file and back."""
    settings = TrainSettings(optimizer="adam", ema_decay=0.9)
    state = {f"{slot}/{name}": SLOTS[slot][name] for slot in settings.slots for name in TRAINED}
    state |= {f"ema/{name}": EMA[name] for name in TRAINED} | {"steps": np.array(STEPS)}
    arrays = {f"weights/{name}": array for name, array in WEIGHTS.items()}
    arrays |= {f"optimizer/{name}": array for name, array in settings.complete_state(state, SPEC).items()}
    metadata = {"model": MODEL, "options": "{}"}
    last, native, back = tmp_path / "last.safetensors", tmp_path / f"native{suffix}", tmp_path / "back.safetensors"
    safetensors_file.save(last, arrays, metadata)
    main([str(last), str(native)])
    main([str(native), str(back), "--model", MODEL])
    converted = safetensors_file.load(back)[0]
    for name in WEIGHTS:
        average = EMA[name] if name in TRAINED else WEIGHTS[name]
        assert converted.pop(f"ema/{name}").tobytes() == average.tobytes(), name
    assert same(converted, {name: array for name, array in arrays.items() if not name.startswith("optimizer/ema/")})
    assert (converted["optimizer/steps"].dtype, converted["optimizer/steps"].shape) == (np.int64, ())
    if suffix == ".ckpt":
        parameters = native_weights("mindspore").read(native)
        assert np.array_equal(parameters["moment1.stem.norm.gamma"], SLOTS["moment1"]["stem.norm.weight"])
        assert np.array_equal(parameters["stem.norm.moving_mean"], WEIGHTS["stem.norm.running_mean"])


def test_incomplete_ema_is_skipped_and_logged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays = {f"weights/{name}": array for name, array in WEIGHTS.items()}
    incomplete = {f"ema/{name}": EMA[name] for name in TRAINED[1:]}
    write_file(tmp_path / "a.pth", arrays | incomplete, {})
    assert not read_checkpoint(tmp_path / "a.pth", MODEL).ema
    assert f"skipped the EMA: {TRAINED[0]} is missing" in capsys.readouterr().out
