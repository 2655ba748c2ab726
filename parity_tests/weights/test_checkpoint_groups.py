"""Checkpoints that hold more than weights: moving averages and optimizers, carried between the frameworks."""

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
WEIGHTS, AVERAGES = random_weights(SPEC, 1), random_weights(SPEC, 2)
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


def whole() -> Checkpoint:
    return Checkpoint(SPEC, WEIGHTS, AVERAGES, SLOTS, STEPS)


def assert_whole(path: Path) -> None:
    found = read_checkpoint(path, MODEL, log=str)
    assert same(found.weights, WEIGHTS)
    assert same(found.ema, AVERAGES)
    assert found.slots.keys() == SLOTS.keys()
    assert all(same(found.slots[slot], arrays) for slot, arrays in SLOTS.items())
    assert found.steps == STEPS


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_averages_and_optimizer_go_along(suffix: str, tmp_path: Path, capsys) -> None:
    write_checkpoint(tmp_path / f"a{suffix}", whole())
    assert_whole(tmp_path / f"a{suffix}")
    for other in SUFFIXES:
        assert main([str(tmp_path / f"a{suffix}"), str(tmp_path / f"b{other}"), "--model", MODEL]) == 0
        said = capsys.readouterr().out
        assert f"took its {STEPS} steps\n" in said
        extra = "ema, optimizer/velocity, optimizer/moment1, optimizer/moment2, optimizer/steps"
        assert f"with {extra} beside weights" in said
        assert_whole(tmp_path / f"b{other}")
    assert main([str(tmp_path / f"a{suffix}"), str(tmp_path / "c.pth"), "--model", MODEL, "--weights-only"]) == 0
    assert same(native_weights("torch").read(tmp_path / "c.pth"), WEIGHTS)
    found = read_checkpoint(tmp_path / "c.pth", MODEL, log=str)
    assert not found.ema
    assert not found.slots
    assert found.steps is None


def test_a_published_layout_names_them_too(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a.pth", whole(), "timm")
    names = set(native_weights("torch").read(tmp_path / "a.pth"))
    assert {"weights/conv_stem.weight", "ema/conv_stem.weight", "optimizer/velocity/conv_stem.weight"} <= names
    assert_whole(tmp_path / "a.pth")


def test_keras_files_hold_weights_alone(tmp_path: Path) -> None:
    spec = find_spec("resnet50_v2_keras", num_classes=2)
    with pytest.raises(ReproError, match="cannot hold moving averages or an optimizer; use --weights-only"):
        write_checkpoint(tmp_path / "a.h5", Checkpoint(spec, {}, {"a": np.ones(1)}))


@pytest.mark.parametrize("wrapper", ["state_dict_ema", "model_ema", "ema"])
def test_averages_under_the_usual_names(wrapper: str, tmp_path: Path, capsys) -> None:
    arrays = {f"state_dict/module.{name}": array for name, array in WEIGHTS.items()}
    arrays |= {f"{wrapper}/module.{name}": array for name, array in AVERAGES.items()}
    write_file(tmp_path / "a.pth", arrays, {})
    found = read_checkpoint(tmp_path / "a.pth", MODEL)
    assert same(found.weights, WEIGHTS)
    assert same(found.ema, AVERAGES)
    said = capsys.readouterr().out
    assert "took the weights under 'state_dict'" in said
    assert f"took the moving averages under '{wrapper}'" in said
    write_file(tmp_path / "b.pth", {n: a for n, a in arrays.items() if not n.startswith("state_dict/")}, {})
    assert same(read_checkpoint(tmp_path / "b.pth", MODEL, log=str).weights, AVERAGES)  # where they are alone


def test_what_belongs_to_no_weight_is_left_out_aloud(tmp_path: Path, capsys) -> None:
    arrays = {f"weights/{name}": array for name, array in WEIGHTS.items()}
    strange = {"optimizer/velocity/stem.conv.weight": np.ones((2, 2), "float32"), "other/x": np.ones(3)}
    write_file(tmp_path / "a.pth", arrays | strange, {})
    found = read_checkpoint(tmp_path / "a.pth", MODEL)
    assert not found.slots
    said = capsys.readouterr().out
    assert "left out the optimizer's velocity: stem.conv.weight has shape (2, 2)" in said
    assert "left out 1 arrays beside them" in said


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
    write_checkpoint(ours, whole())
    code = f"MODEL, TRAINED = {MODEL!r}, {TRAINED}\n" + USERS[name]
    user = subprocess.run(
        [interpreter(name), "-c", code, str(alone), str(ours), str(theirs)], capture_output=True, text=True, check=False
    )
    assert user.returncode == 0, user.stderr[-3000:]
    assert_whole(theirs)


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
        found = read_checkpoint(tmp_path / f"a{source}", spec.name, log=str)
        write_checkpoint(tmp_path / f"b{target}", found)
        assert tracemalloc.get_traced_memory()[1] < 1.5 * largest + 4e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("suffix", [".pth", ".pdparams", ".ckpt"])
def test_the_run_folders_checkpoint_comes_back_from_everywhere(suffix: str, tmp_path: Path) -> None:
    """What `last/` holds, as `repro.run` writes it: a trainer's averages are those of what it trains."""
    settings = TrainSettings(optimizer="adam", ema_decay=0.9)
    state = {f"{slot}/{name}": SLOTS[slot][name] for slot in settings.slots for name in TRAINED}
    state |= {f"ema/{name}": AVERAGES[name] for name in TRAINED} | {"steps": np.array(STEPS)}
    arrays = {f"weights/{name}": array for name, array in WEIGHTS.items()}
    arrays |= {f"optimizer/{name}": array for name, array in settings.complete_state(state, SPEC).items()}
    metadata = {"model": MODEL, "options": "{}"}
    first, there, back = tmp_path / "last.safetensors", tmp_path / f"there{suffix}", tmp_path / "back.safetensors"
    safetensors_file.save(first, arrays, metadata)
    main([str(first), str(there)])
    main([str(there), str(back), "--model", MODEL])
    found = safetensors_file.load(back)[0]
    averages = {name: AVERAGES[name] if name in TRAINED else WEIGHTS[name] for name in WEIGHTS}
    for name, average in averages.items():
        assert found.pop(f"ema/{name}").tobytes() == average.tobytes(), name
    assert same(found, {name: array for name, array in arrays.items() if not name.startswith("optimizer/ema/")})
    assert (found["optimizer/steps"].dtype, found["optimizer/steps"].shape) == (np.int64, ())
    if suffix == ".ckpt":
        native = native_weights("mindspore").read(there)
        assert np.array_equal(native["moment1.stem.norm.gamma"], SLOTS["moment1"]["stem.norm.weight"])
        assert np.array_equal(native["stem.norm.moving_mean"], WEIGHTS["stem.norm.running_mean"])


def test_averages_that_are_not_all_there_are_left_out_aloud(tmp_path: Path, capsys) -> None:
    arrays = {f"weights/{name}": array for name, array in WEIGHTS.items()}
    some = {f"ema/{name}": AVERAGES[name] for name in TRAINED[1:]}
    write_file(tmp_path / "a.pth", arrays | some, {})
    assert not read_checkpoint(tmp_path / "a.pth", MODEL).ema
    assert f"left out the moving averages: {TRAINED[0]} is missing" in capsys.readouterr().out
