"""Conversion of weight files with repro.port: bit-identical, or refused with an error of one line."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from repro.arrays import Arrays
from repro.errors import ReproError
from repro.interface.discovery import SHIPPED, native_weights
from repro.port import main
from repro.specs import find_spec
from repro.weights import safetensors_file
from repro.weights.init import random_weights
from repro.weights.porting import read_weights, write_weights

Capture = pytest.CaptureFixture[str]
MODEL = "asymmnet_small_x0_35"
SPEC = find_spec(MODEL, num_classes=7, in_channels=1)
WEIGHTS = random_weights(SPEC, 5)
EXTENSIONS = {name: native_weights(name).EXTENSIONS[0] for name in SHIPPED}
SUFFIXES = [".safetensors", *EXTENSIONS.values()]


def same(left: Arrays, right: Arrays) -> bool:
    def bits(arrays: Arrays) -> dict[str, tuple]:
        return {name: (array.shape, array.dtype.name, array.tobytes()) for name, array in arrays.items()}

    return bits(left) == bits(right)


@pytest.fixture
def canonical(tmp_path: Path) -> Path:
    path = tmp_path / "canonical.safetensors"
    safetensors_file.save(path, WEIGHTS)
    return path


def refusal(capsys: Capture, *arguments: Any) -> str:
    """Return the error of one line, after checking that no file has changed."""
    folder = arguments[0].parent
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with pytest.raises(ReproError) as caught:
        main([str(argument) for argument in arguments])
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
    assert "wrote" not in capsys.readouterr().out
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_square_linear_weight_is_transposed_in_the_file(tmp_path: Path) -> None:
    spec = find_spec("asymmnet_small", num_classes=1280)
    arrays = random_weights(spec, 1)
    path = tmp_path / "weights.pdparams"
    write_weights(path, spec, arrays)
    native = native_weights("paddle").read(path)
    assert np.array_equal(native["classifier.weight"], arrays["classifier.weight"].T)
    assert same(read_weights(path, "asymmnet_small")[1], arrays)


def test_canonical_file_records_its_source(canonical: Path, tmp_path: Path, capsys: Capture) -> None:
    paddle, again, torch = (tmp_path / name for name in ("w.pdparams", "again.safetensors", "w.pth"))
    main([str(canonical), str(paddle), "--model", "asymmnet_small", "--option", "width=0.35"])
    main([str(paddle), str(again), "--model", "asymmnet_small", "--option", "width=0.35"])
    metadata = safetensors_file.load(again)[1]
    assert {key: metadata[key] for key in ("model", "num_classes", "in_channels", "ported_from")} == {
        "model": "asymmnet_small", "num_classes": "7", "in_channels": "1", "ported_from": "w.pdparams",
    }  # fmt: skip
    assert json.loads(metadata["options"]) == {"width": 0.35}
    assert metadata["source_sha256"] == hashlib.sha256(paddle.read_bytes()).hexdigest()
    assert main([str(again), str(torch)]) == 0  # the metadata name the model and its options
    assert same(read_weights(torch, MODEL)[1], WEIGHTS)
    assert "7 classes" in capsys.readouterr().out


def test_layout_may_be_given_instead_of_the_extension(canonical: Path, tmp_path: Path, capsys: Capture) -> None:
    main([str(canonical), str(tmp_path / "weights"), "--to", "mindspore", "--model", MODEL])
    assert same(read_weights(tmp_path / "weights.ckpt", MODEL)[1], WEIGHTS)
    assert "weights.ckpt" in capsys.readouterr().out
    error = refusal(capsys, canonical, tmp_path / "w.pth", "--to", "mindspore", "--model", MODEL)
    assert "w.pth is a file of torch, not of mindspore, whose files end in .ckpt" in error
    assert "did you mean torch" in refusal(capsys, canonical, tmp_path / "w", "--to", "toch", "--model", MODEL)


def test_every_mismatch_is_named_and_nothing_written(tmp_path: Path, capsys: Capture) -> None:
    source, destination = tmp_path / "w.pth", tmp_path / "w.ckpt"
    destination.write_text("old")
    arrays = dict(WEIGHTS)
    arrays["clasifier.bias"] = arrays.pop("classifier.bias")
    arrays["hidden.weight"] = arrays["hidden.weight"][:, :-1]
    arrays["extra"] = np.ones((2, 2), "float32")
    native_weights("torch").write(source, arrays)
    error = refusal(capsys, source, destination, "--model", MODEL)
    for part in (
        "classifier.bias is missing",
        "hidden.weight has shape",
        "clasifier.bias is unex",
        "extra is unexpected",
    ):
        assert part in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["w.onnx", "--model", MODEL], "needs one of the extensions .safetensors, .pth"),
        (["w.pth", "--from", "timm"], "timm has no asymmnet_small_x0_35; its layouts are canonical, torch, paddle"),
        (["w.pth", "--from", "tim"], "unknown layout 'tim': did you mean timm"),
        (["w.pth", "--to", "torchvision"], "torchvision has no asymmnet_small_x0_35"),
        (["w.pth", "--to", "paddle"], "w.pth is a file of torch, not of paddle, whose files end in .pdparams"),
        (["w.h5"], "Keras has no asymmnet_small_x0_35; give an extension other than .h5"),
        (["w.pth", "--model", "asymnet_small"], "did you mean"),
        (["w.pth", "--model", MODEL, "--option", "asymrate=1"], "did you mean asymmrate"),
        (
            ["w.pth", "--model", MODEL, "--option", "asymmrate"],
            "--option must be names with a number or text each, as in width=0.5",
        ),
        (["w.pth", "--model", MODEL, "--option", "asymmrate=2023-13-45"], "asymmrate must be 0, 1 or 2"),
        (["w.pth", "--model", MODEL, "--option", "num_classes=3"], "the arrays give num_classes"),
        (["w.pth", "--model", "asymmnet_large"], f"not fit asymmnet_large; it fits {MODEL}: give --model {MODEL}"),
        (["none/w.pth", "--model", MODEL], "No such file or directory"),
    ],
)
def test_mistakes(arguments: list[str], message: str, canonical: Path, tmp_path: Path, capsys: Capture) -> None:
    assert message in refusal(capsys, canonical, tmp_path / arguments[0], *arguments[1:])


@pytest.mark.parametrize("options", ["{", "[1]", "[" * 100_000, '{"num_classes": 3}', '{"size": "large"}'])
def test_invalid_metadata(options: str, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "w.safetensors"
    safetensors_file.save(path, WEIGHTS, {"model": MODEL, "options": options})
    assert "option" in refusal(capsys, path, tmp_path / "w.pth")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_broken_source_keeps_the_destination(suffix: str, tmp_path: Path, capsys: Capture) -> None:
    source, destination = tmp_path / f"broken{suffix}", tmp_path / "w.safetensors"
    destination.write_text("old")
    refusal(capsys, source, destination, "--model", MODEL)
    source.write_bytes(b"no such thing")
    assert str(source) in refusal(capsys, source, destination, "--model", MODEL)


def test_weight_under_both_of_its_names_is_refused(tmp_path: Path, capsys: Capture) -> None:
    native = native_weights("paddle")
    arrays = native.NAMES.to_native(WEIGHTS, SPEC.weights)
    name = next(name for name in WEIGHTS if name.endswith("running_mean"))
    native.write(tmp_path / "w.pdparams", {**arrays, name: WEIGHTS[name]})
    assert "twice" in refusal(capsys, tmp_path / "w.pdparams", tmp_path / "w.pth", "--model", MODEL)


def test_counters_are_skipped_and_logged(tmp_path: Path, capsys: Capture) -> None:
    counter = {"stem.norm.num_batches_tracked": np.array(3)}
    native_weights("torch").write(tmp_path / "w.pth", WEIGHTS | counter)
    assert same(read_weights(tmp_path / "w.pth", MODEL)[1], WEIGHTS)
    assert "skipped 1 integer scalar, which is not a weight: stem.norm.num_batches_tracked" in capsys.readouterr().out


@pytest.mark.parametrize("backend", ["torch", "paddle"])
def test_weights_inside_a_training_checkpoint(
    backend: str,
    tmp_path: Path,
    require_backend: Callable[[str], None],
    run_program: Callable[..., Any],
    capsys: Capture,
) -> None:
    require_backend(backend)
    weights, checkpoint = (tmp_path / f"{name}{EXTENSIONS[backend]}" for name in ("weights", "checkpoint"))
    write_weights(weights, SPEC, WEIGHTS)
    run_program(backend, f"porting:{backend}_checkpoint", str(weights), str(checkpoint))
    assert same(read_weights(checkpoint, MODEL)[1], WEIGHTS)
    out = capsys.readouterr().out
    assert "read the weights under" in out
    assert ("removed the prefix 'module.' from every name" in out) == (backend == "torch")


def test_ambiguous_groups_are_refused(tmp_path: Path, capsys: Capture) -> None:
    native_weights("torch").write(tmp_path / "w.pth", {"student/a": np.ones(2), "teacher/a": np.ones(2)})
    assert "several groups of arrays (student, teacher)" in refusal(
        capsys, tmp_path / "w.pth", tmp_path / "w.ckpt", "--model", MODEL
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_inspect_lists_metadata_and_arrays(suffix: str, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / f"w{suffix}"
    write_weights(path, SPEC, WEIGHTS, {"note": "with\x1b[2J"})
    assert main([str(path), "--inspect"]) == 0
    out = capsys.readouterr().out
    array = WEIGHTS["hidden.weight"]
    assert any(
        all(
            part in line
            for part in ("hidden.weight", str(array.shape), "float32", hashlib.sha256(array.tobytes()).hexdigest()[:12])
        )
        for line in out.splitlines()
    )
    assert f"{len(WEIGHTS)} arrays" in out
    assert "\x1b" not in out
    assert ("# note: with?[2J" in out) == (suffix == ".safetensors")


def test_command_prints_one_error_line_and_imports_numpy_late(canonical: Path) -> None:
    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "repro.port", *arguments],
            capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip

    helped = command("--help")
    assert (helped.returncode, "numpy" in helped.stderr) == (0, False)
    failed = command(str(canonical), "w.pth", "--model", "asymnet")
    assert failed.returncode == 1
    errors = [line for line in failed.stderr.splitlines() if not line.startswith("import time:")]
    assert len(errors) == 1
    assert "unknown model 'asymnet'" in errors[0]
