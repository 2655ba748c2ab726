"""Checkpoints with an EMA and an optimizer's state, converted between the frameworks."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity_tests.programs.checkpoint_groups import checksum
from repro.errors import ReproError
from repro.interface import TrainSettings
from repro.interface.discovery import SHIPPED, native_weights
from repro.port import main
from repro.specs import STATISTICS, find_spec
from repro.weights import safetensors_file
from repro.weights.formats import write_file
from repro.weights.init import random_weights
from repro.weights.porting import Checkpoint, read_checkpoint, write_checkpoint

Run = Callable[..., Any]

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
    assert "skipped 1 other array" in output


@pytest.mark.slow
@pytest.mark.parametrize("backend", SHIPPED)
def test_plain_users_load_and_save_checkpoints(
    backend: str, tmp_path: Path, run_program: Run, require_backend: Callable[[str], None]
) -> None:
    require_backend(backend)
    suffix = native_weights(backend).EXTENSIONS[0]
    weights, checkpoint, saved = (tmp_path / f"{name}{suffix}" for name in ("weights", "checkpoint", "saved"))
    write_checkpoint(weights, Checkpoint(SPEC, WEIGHTS))
    write_checkpoint(checkpoint, complete_checkpoint())
    paths = str(weights), str(checkpoint), str(saved)
    run_program(backend, f"checkpoint_groups:{backend}_user", MODEL, TRAINED, *paths)
    assert_complete(saved)


@pytest.mark.slow
@pytest.mark.parametrize("backend", SHIPPED)
def test_frameworks_load_safetensors(
    backend: str, tmp_path: Path, run_program: Run, require_backend: Callable[[str], None]
) -> None:
    """The file has the framework's own names, and is loaded without this repository's readers."""
    require_backend(backend)
    path = tmp_path / "w.safetensors"
    write_checkpoint(path, Checkpoint(SPEC, WEIGHTS), backend)
    checksums = run_program(backend, "checkpoint_groups:load_safetensors", backend, MODEL, str(path))
    assert checksums == {name: checksum(array) for name, array in WEIGHTS.items()}


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
