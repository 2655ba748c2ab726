"""The optimizer's state in checkpoints of other users: Paddle's .pdopt files, and the step count of Adam."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from repro.errors import ReproError
from repro.port import main
from repro.specs import STATISTICS, find_spec
from repro.weights import safetensors_file
from repro.weights.adam_steps import MAX_STEPS, steps_in_file
from repro.weights.formats import native_names, write_file
from repro.weights.init import random_weights
from repro.weights.porting import read_checkpoint

MODEL = "mobilenet_v2_x0_35"
SPEC = find_spec(MODEL, num_classes=5)
WEIGHTS = random_weights(SPEC, 1)
TRAINED = [name for name, weight in SPEC.weights.items() if weight.kind not in STATISTICS]


def test_paddles_optimizer_in_the_weight_file_and_in_its_own(
    tmp_path: Path, require_backend: Callable[[str], None], run_program: Callable[..., Any]
) -> None:
    """Paddle names the optimizer's arrays after numbered parameters; the model's arrays give the order."""
    require_backend("paddle")
    run_program("paddle", "optimizer_state:save_paddle_optimizers", MODEL, str(tmp_path))
    expected = safetensors_file.load(tmp_path / "expected.safetensors")[0]
    assert len(expected) == 2 * len(TRAINED)
    for name in ("both", "own"):
        lines: list[str] = []
        checkpoint = read_checkpoint(tmp_path / f"{name}.pdparams", MODEL, log=lines.append)
        flat = {f"{slot}/{name}": array for slot, arrays in checkpoint.slots.items() for name, array in arrays.items()}
        assert flat.keys() == expected.keys()
        assert all(flat[key].tobytes() == expected[key].tobytes() for key in expected)
        assert checkpoint.steps == 3
        assert "read the optimizer's step count: 3 (from the powers of the betas (0.9, 0.999))" in lines
        assert (f"read the optimizer in {tmp_path / 'own.pdopt'}" in lines) == (name == "own")
    with pytest.raises(
        ReproError, match=r"other.pdopt as a .pdopt file: 'conv.*' belongs to no parameter of the model"
    ):
        read_checkpoint(tmp_path / "other.pdparams", MODEL, log=str)
    assert not read_checkpoint(tmp_path / "plain.pdparams", MODEL, log=str).slots  # SGD has no slots


def paddle_files(folder: Path, optimizer: object) -> Path:
    """Write WEIGHTS as paddle.save writes a state dict, and `optimizer`, pickled unless it is bytes, next to it."""
    names = native_names("paddle")
    arrays = names.to_native(WEIGHTS, SPEC.weights)
    numbers = {name: f"tensor_{number}" for number, name in enumerate(arrays)}
    (folder / "x.pdparams").write_bytes(pickle.dumps(arrays | {"StructuredToParameterName@@": numbers}, 4))
    pickled = optimizer if isinstance(optimizer, bytes) else pickle.dumps(optimizer, 4)
    (folder / "x.pdopt").write_bytes(pickled)
    return folder / "x.pdparams"


STEM = WEIGHTS["stem.conv.weight"]


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (b"", "cannot mmap an empty file"),
        (pickle.dumps({"tensor_0_velocity_0": STEM}, 4)[:-40], ""),
        (b"\x80\x04cposix\nsystem\n(X\x02\0\0\0lstR.", "it is not a dictionary of arrays"),
        ([STEM], "it is not a dictionary of arrays"),
        ({"tensor_0_velocity_0": STEM[1:]}, r"'tensor_0_velocity_0' has shape \(15, 3, 3, 3\), and its parameter in"),
        ({"linear_7.w_0_moment1_0": STEM}, "'linear_7.w_0_moment1_0' belongs to no parameter of the model next to it"),
    ],
)
def test_bad_optimizer_file_is_named(
    optimizer: object, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = paddle_files(tmp_path, optimizer)
    with pytest.raises(ReproError, match=rf"cannot read \S+x.pdopt as a .pdopt file: .*{message}") as caught:
        main([str(path), str(tmp_path / "y.pth"), "--model", MODEL])
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "y.pth").exists()
    assert main([str(path), str(tmp_path / "y.pth"), "--model", MODEL, "--weights-only"]) == 0
    assert "pdopt" not in capsys.readouterr().out.partition("wrote")[2]


def test_slots_that_fit_are_read_and_the_rest_is_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = {"tensor_0_moment1_1": STEM, "tensor_0_moment2_1": STEM, "tensor_0_mean_grad_0": STEM, "last_epoch": 3}
    checkpoint = read_checkpoint(paddle_files(tmp_path, state), MODEL)
    assert {slot: list(arrays) for slot, arrays in checkpoint.slots.items()} == {
        "moment1": ["stem.conv.weight"], "moment2": ["stem.conv.weight"],
    }  # fmt: skip
    assert checkpoint.steps is None
    output = capsys.readouterr().out
    assert "skipped 1 other array" in output
    assert "skipped the optimizer's step count: the file has none" in output


def test_optimizer_in_the_weight_file_has_precedence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = paddle_files(tmp_path, b"not even read")
    arrays = {
        f"weights/{name}": array for name, array in native_names("paddle").to_native(WEIGHTS, SPEC.weights).items()
    }
    write_file(path, arrays | {"optimizer/velocity/stem.conv.weight": STEM}, {})
    assert read_checkpoint(path, MODEL).slots["velocity"].keys() == {"stem.conv.weight"}
    assert f"skipped {path.with_suffix('.pdopt')}: {path} itself holds an optimizer" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("counters", "expected", "reason"),
    [
        ([np.array(0)], 0, ""),
        ([np.array([7], "int32"), np.array(7.0, "float32")], 7, ""),
        ([np.array(MAX_STEPS)], MAX_STEPS, ""),
        ([np.array(-1)], None, "-1 is not a whole number from 0 to 2147483647"),
        ([np.array(2.5)], None, "2.5 is not a whole"),
        ([np.array(np.nan)], None, "nan is not a whole"),
        ([np.array(np.inf)], None, "inf is not a whole"),
        ([np.array(2**62)], None, "e+18 is not a whole"),
        ([np.array(3), np.array(5), np.array(4)], None, "it differs between parameters: 3 and 5"),
        ([np.array([3, 3])], None, "it is not a number"),
        ([np.array(True)], None, "it is not a number"),
        ([], None, "the file has none"),
    ],
)
def test_step_counters_are_checked(counters: list[np.ndarray], expected: int | None, reason: str) -> None:
    lines: list[str] = []
    assert steps_in_file(counters, [[], []], lines.append) == expected
    assert len(lines) == 1
    assert reason in lines[0]


def power(beta: float, steps: int) -> list[np.ndarray]:
    """Return Paddle's power of a beta after `steps` steps, twice. Bit-identical to Paddle's up to 99,000 steps."""
    return [np.multiply.accumulate(np.full(steps + 1, beta, "float32"))[-1:]] * 2


@pytest.mark.parametrize("steps", [0, 1, 3, 830, 10_000, 50_000, 80_000, 87_000])
def test_steps_follow_from_paddles_beta_powers(steps: int) -> None:
    assert steps_in_file([], [power(0.9, steps), power(0.999, steps)], str) == steps


@pytest.mark.parametrize(
    "powers",
    [
        [power(0.95, 3), power(0.999, 3)],
        [power(0.9, 3), power(0.99, 3)],
        [power(0.9, 3), power(0.999, 4)],
        [power(0.9, 90_000), power(0.999, 90_000)],  # float32 underflows
        [[np.array([0.0])], [np.array([0.0])]],
        [[np.array([np.nan])], [np.array([np.nan])]],
        [[np.array([1e300])], [np.array([-1e300])]],
        [power(0.9, 3), []],
        [power(0.9, 3), power(0.999, 3) + power(0.999, 4)],
    ],
)
def test_other_beta_powers_give_no_step_count(powers: list[list[np.ndarray]]) -> None:
    lines: list[str] = []
    assert steps_in_file([], powers, lines.append) is None
    assert len(lines) == 1
    assert lines[0].startswith("skipped the optimizer's step count: ")
