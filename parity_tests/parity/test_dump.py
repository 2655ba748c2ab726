"""repro.parity --dump and --against: a model that runs on another machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from repro.errors import ReproError
from repro.parity.__main__ import main
from repro.weights import safetensors_file
from repro.workers.client import WorkerError
from repro.workers.dump import Dump, DumpedWorker

FOLDER = Path(__file__).resolve().parents[1] / "programs/user_models"


@pytest.fixture(scope="module")
def dumped(tmp_path_factory: pytest.TempPathFactory, require_backend: Callable[[str], None]) -> Path:
    """A dump of torch_own:build."""
    require_backend("torch")
    file = tmp_path_factory.mktemp("dump") / "torch.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(FOLDER)
        assert main(["--torch", "torch_own:build", "--input", "2,3,6,5", "--dump", str(file)]) == 0
    return file


@pytest.fixture
def against(dumped: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
            require_backend: Callable[[str], None]) -> Callable[..., tuple[int, str]]:  # fmt: skip
    """A function of flags that compares with the dump, and returns the exit code and the output."""
    require_backend("paddle")
    monkeypatch.chdir(FOLDER)

    def run(*flags: str, file: Path = dumped) -> tuple[int, str]:
        code = main([*flags, "--against", str(file)])
        return code, capsys.readouterr().out

    return run


@pytest.mark.slow
def test_a_sound_model_agrees_with_a_dump_on_all_rungs(against: Callable[..., tuple[int, str]]) -> None:
    code, output = against("--paddle", "paddle_own:build")
    assert code == 0
    assert "torch_own:build in torch" in output and "8 comparisons, 0 diverge" in output


def test_a_wrong_model_diverges_from_a_dump(against: Callable[..., tuple[int, str]]) -> None:
    code, output = against("--paddle", "paddle_own:without_activation")
    assert code == 1
    assert "paddle first diverges from torch float64 at" in output
    assert "fc" in output


def test_a_model_of_the_same_framework_is_the_second(against: Callable[..., tuple[int, str]]) -> None:
    code, output = against("--torch", "torch_own:build")
    assert (code, "torch_own:build in torch#2" in output) == (0, True)


@pytest.mark.slow
def test_own_weights_are_in_the_dump(
    against: Callable[..., tuple[int, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "own.safetensors"
    flags = ["--torch", "torch_own:build", "--input", "2,3,6,5", "--rungs", "0,1", "--own-weights"]
    assert main([*flags, "--dump", str(file)]) == 0
    code, output = against("--paddle", "paddle_own:exchanged", file=file)
    assert code == 1
    assert "at norm.weight: its values differ" in output


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--paddle", "a:b", "--input", "2,3,9,9"],
            r"was written with another --input, \['2,3,6,5'\]; leave --input out",
        ),
        (["--paddle", "a:b", "--rungs", "0"], "was written with another --rungs, 0,1,2,4; leave --rungs out"),
        (["--paddle", "a:b", "--own-weights"], "was written with another --own-weights, False"),
        ([], "one user model to compare; give at least two of"),
        (["--torch", "a:b", "--dump", "x"], "--dump writes a file of one model, and --against compares with one"),
    ],
)
def test_bad_flags_against_a_dump(flags: list[str], message: str, dumped: Path) -> None:
    with pytest.raises(ReproError, match=message):
        main([*flags, "--against", str(dumped)])


def test_a_dump_is_of_one_model() -> None:
    with pytest.raises(ReproError, match="--dump is for one model, and there are 2; give one"):
        main(["--torch", "a:b", "--paddle", "a:b", "--dump", "x"])


def changed(file: Path, change: Callable[[dict[str, Any]], object], target: Path) -> Path:
    """A copy of a dump with other JSON."""
    arrays, metadata = safetensors_file.load(file)
    content = json.loads(metadata["repro"])
    result = change(content)
    text = result if isinstance(result, str) else json.dumps(content)
    safetensors_file.save(target, arrays, {"repro": text})
    return target


def description(content: dict[str, Any]) -> dict[str, Any]:
    return next(result for _, result in content["answers"] if isinstance(result, dict) and "weights" in result)


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "a large weight": lambda c: description(c)["weights"][0].__setitem__(1, [1 << 40, 3, 3, 3]),
    "another kind": lambda c: description(c)["weights"][0].__setitem__(2, "dense"),
    "a name that is a number": lambda c: description(c)["weights"][0].__setitem__(0, 3),
    "a short row": lambda c: description(c)["weights"][0].pop(),
    "modules as a list": lambda c: description(c).__setitem__("modules", [1]),
    "a momentum": lambda c: description(c).__setitem__("momentum", "a"),
    "no answers": lambda c: c.__setitem__("answers", []),
    "answers as a text": lambda c: c.__setitem__("answers", "text"),
    "a control sequence": lambda c: c.__setitem__("version", "\x1b[2J"),
    "a label": lambda c: c.__setitem__("label", "../torch"),
    "no settings": lambda c: c.pop("settings"),
    "large inputs": lambda c: c["settings"].__setitem__("input", ["999999999,999999999"]),
    "another input": lambda c: c["settings"].__setitem__("input", [[1]]),
    "text for seeds": lambda c: c["settings"].__setitem__("seeds", "many"),
    "other results": lambda c: [answer for answer in c["answers"] if isinstance(answer[1], list)][-1][1].append("x"),
    "deep JSON": lambda c: "[" * 100_000,
    "no JSON": lambda c: "{",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_damaged_dump_is_one_line(change: str, dumped: Path, tmp_path: Path) -> None:
    file = changed(dumped, CHANGES[change], tmp_path / "bad.safetensors")
    with pytest.raises(ReproError) as caught:
        main(["--paddle", "a:b", "--against", str(file)])
    message = str(caught.value)
    assert "bad.safetensors" in message or "--input is" in message
    assert "\n" not in message and "\x1b" not in message and len(message) < 700


def test_other_files_are_no_dumps(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    safetensors_file.save(file, {"fc.weight": np.zeros((2, 2), np.float32)})
    with pytest.raises(ReproError, match="is not a file of --dump"):
        Dump.read(file)
    file.write_bytes(b"\x80\x04.")
    with pytest.raises(ReproError, match="is not a complete safetensors file"):
        Dump.read(file)
    with pytest.raises(ReproError, match="no such file"):
        Dump.read(tmp_path / "missing")


def test_a_model_without_float64_is_not_asked_for_it(tmp_path: Path) -> None:
    inputs = {"images": np.zeros((2, 3), np.float32)}
    dump = Dump("mindspore", "net:build", "2.8.0", {}, inputs, {})
    with DumpedWorker(dump, tmp_path / "file") as worker:
        assert worker.request("forward", inputs, float64=True) == (None, {})
        with pytest.raises(WorkerError, match="file has no answer to 'forward' with these inputs and weights"):
            worker.request("forward", inputs, float64=False)
