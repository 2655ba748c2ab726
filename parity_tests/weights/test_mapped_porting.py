"""repro.port --mapping: weights of a user's own network go from framework to framework by a mapping file."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from parity_tests.conftest import RunProgram
from repro import port
from repro.arrays import Arrays
from repro.errors import ReproError
from repro.interface.discovery import SHIPPED
from repro.parity.user_models.inputs import parse_inputs
from repro.parity.user_models.models import load_user_models
from repro.weights import safetensors_file
from repro.weights.formats import read_file, write_file
from repro.weights.mapping_file import MAX_FILE_BYTES
from repro.workers.client import Worker

FOLDER = Path(__file__).resolve().parents[1] / "programs/user_models"
FILES = {"torch": "net.pth", "paddle": "net.pdparams", "mindspore": "net.ckpt"}
# a linear weight and a norm, whose names differ in paddle and mindspore
SMALL = {
    "paddle": {"fc.weight": "head.weight", "bn.running_mean": "norm.running_mean"},
    "mindspore": {"fc.weight": "dense.weight", "bn.running_mean": "bn.running_mean"},
    "weights": {
        "torch": {
            "fc.weight": {"kind": "linear", "shape": [3, 3]},
            "bn.running_mean": {"kind": "norm_mean", "shape": [3]},
        },
        "paddle": {
            "head.weight": {"kind": "linear", "shape": [3, 3]},
            "norm.running_mean": {"kind": "norm_mean", "shape": [3]},
        },
        "mindspore": {
            "dense.weight": {"kind": "linear", "shape": [3, 3]},
            "bn.running_mean": {"kind": "norm_mean", "shape": [3]},
        },
    },
}
KERNEL, MEAN = np.arange(9, dtype=np.float32).reshape(3, 3), np.array([1, 2, 3], np.float32)
TORCH = {"fc.weight": KERNEL, "bn.running_mean": MEAN}
PADDLE = {"head.weight": KERNEL.T, "norm._mean": MEAN}
MINDSPORE = {"dense.weight": KERNEL, "bn.moving_mean": MEAN}
ARRAYS = {"torch": TORCH, "paddle": PADDLE, "mindspore": MINDSPORE}


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the mapping file names.yaml and the files of its models."""
    monkeypatch.chdir(tmp_path)
    Path("names.yaml").write_text(yaml.safe_dump(SMALL, sort_keys=False))
    for backend, arrays in ARRAYS.items():
        write_file(Path(FILES[backend]), {name: np.ascontiguousarray(array) for name, array in arrays.items()}, {})
    return tmp_path


def ported(source: str, destination: str, *flags: str) -> Arrays:
    assert port.main([source, destination, "--mapping", "names.yaml", *flags]) == 0
    return read_file(Path(destination))[0]


def same(left: Arrays, right: Arrays) -> bool:
    return left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in right)


@pytest.mark.slow
def test_a_network_computes_the_same_in_every_framework(
    workers: dict[str, Worker],
    require_backend: Callable[[str], None],
    run_program: RunProgram,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """PyTorch's random weights are loaded strictly by the others, whose own files become the same files again.

    The mapping is the one that repro.parity writes, without a correction.
    """
    for backend in SHIPPED:
        require_backend(backend)
    monkeypatch.chdir(FOLDER)
    mapping = tmp_path / "names.yaml"
    sources = {backend: f"{backend}_ported:Net" for backend in SHIPPED}
    load_user_models(workers, sources, parse_inputs(["2,3,6,6"]), mapping, lambda line: None)
    monkeypatch.chdir(tmp_path)
    logits: dict[str, Any] = {"torch": run_program("torch", "mapped_porting:torch", "", str(tmp_path / "net.pth"))}
    first: dict[str, Arrays] = {}
    for backend in ("paddle", "mindspore"):
        first[backend] = ported("net.pth", f"first_{FILES[backend]}")
        files = [str(tmp_path / f"first_{FILES[backend]}"), str(tmp_path / FILES[backend])]
        logits[backend] = run_program(backend, f"mapped_porting:{backend}", *files)
        assert np.abs(np.subtract(logits[backend], logits["torch"])).max() <= 1e-5
        assert same(ported(FILES[backend], f"back_{backend}.pth"), ported("net.pth", "again.pth"))
    assert np.abs(logits["torch"]).max() > 0.1
    assert same(ported("net.pdparams", "other.ckpt"), first["mindspore"])
    assert same(ported("net.ckpt", "other.pdparams"), first["paddle"])


@pytest.mark.parametrize("origin", SHIPPED)
@pytest.mark.parametrize("target", SHIPPED)
def test_kinds_transpose_and_names_follow(origin: str, target: str, small: Path) -> None:
    arrays = ported(FILES[origin], f"out{Path(FILES[target]).suffix}")
    assert same(arrays, ARRAYS[target])
    assert all(array.flags.c_contiguous for array in arrays.values())
    assert same(ported(FILES[origin], "out.safetensors", "--to", target), ARRAYS[target])
    assert same(ported("out.safetensors", f"twice{Path(FILES[target]).suffix}"), ARRAYS[target])
    if target == "torch":
        port.main([FILES[origin], "plain", "--to", target, "--mapping", "names.yaml"])
        assert same(read_file(Path("plain.pth"))[0], TORCH)


def test_wrappers_and_types(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    safetensors_file.save(Path("ddp.safetensors"), {f"module.net.{name}": array for name, array in TORCH.items()}, {})
    assert same(ported("ddp.safetensors", "out.pdparams"), PADDLE)
    assert "removed the prefix 'module.net.' from every name\n" in capsys.readouterr().out
    half = {f"model.{name}": array.astype(np.float16) for name, array in TORCH.items()} | {"criterion.weight": MEAN}
    write_file(Path("lightning.pth"), half, {})
    assert ported("lightning.pth", "out.ckpt", "--prefix", "model.")["dense.weight"].dtype == np.float16
    write_file(Path("groups.pth"), {f"{group}/{name}": TORCH[name] for group in ("model", "ema") for name in TORCH}, {})
    assert same(ported("groups.pth", "out.ckpt"), MINDSPORE)
    assert "left out: the EMA, because a mapping converts only weights\n" in capsys.readouterr().out


def test_equal_names_are_told_apart_by_the_format_or_by_the_user(small: Path) -> None:
    described = {"fc.weight": {"kind": "linear", "shape": [3, 3]}}
    mapping = {"paddle": {"fc.weight": "fc.weight"}, "weights": {"torch": described, "paddle": described}}
    Path("names.yaml").write_text(yaml.safe_dump(mapping, sort_keys=False))
    arrays = {"fc.weight": KERNEL}
    write_file(Path("equal.pth"), arrays, {})
    write_file(Path("equal.safetensors"), arrays, {})
    assert same(ported("equal.pth", "out.pdparams"), {"fc.weight": KERNEL.T})
    with pytest.raises(ReproError, match=r"equal\.safetensors fits the models of torch and paddle; give --from torch"):
        ported("equal.safetensors", "out.pdparams")
    assert same(ported("equal.safetensors", "out.pdparams", "--from", "paddle"), arrays)


def test_every_mismatch_is_listed_and_partial_leaves_it_out(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("out.ckpt").write_bytes(b"old")
    write_file(Path("bad.pdparams"), {"head.weight": KERNEL[:2].copy(), "norm.mean": MEAN, "shift": MEAN}, {})
    with pytest.raises(ReproError) as caught:
        ported("bad.pdparams", "out.ckpt")
    message = str(caught.value)
    assert re.match(r"bad\.pdparams does not fit names\.yaml; 4 mismatches in 2 weights: ", message)
    for part in (
        "head.weight has shape (2, 3) instead of (3, 3)",
        "norm._mean is missing (did you mean norm.mean?)",
        "norm.mean is unexpected",
        "shift is unexpected; run repro.parity",
        "--partial",
    ):
        assert part in message
    assert "\n" not in message
    assert Path("out.ckpt").read_bytes() == b"old"
    write_file(Path("bad.pdparams"), PADDLE | {"shift": MEAN}, {})
    assert same(ported("bad.pdparams", "out.ckpt", "--partial"), MINDSPORE)
    assert "partial: shift is unexpected\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("source", "destination", "flags", "message"),
    [
        ("net.pth", "out.safetensors", [], "out.safetensors can be for any framework; give --to torch or paddle or"),
        ("net.pth", "out.h5", [], "names.yaml has no model of keras, only of torch and paddle and mindspore"),
        ("net.pth", "out.pth", ["--to", "paddle"], "out.pth is a file of torch, not of paddle, whose files end in"),
        ("net.pth", "out.ckpt", ["--from", "timm"], "unknown model in names.yaml: 'timm'"),
        ("net.pth", "out.ckpt", ["--from", "paddle"], "net.pth has none of the names in names.yaml"),
        ("net.pth", "out.ckpt", ["--prefix", "x."], "no array has the prefix 'x.'"),
        ("net.pth", "out.ckpt", ["--model", "vgg16"], "--model is about the networks of this repository"),
        ("net.pth", "out.ckpt", ["--num-classes", "2"], "--num-classes is about the networks of this repository"),
        ("none.pth", "out.ckpt", [], "none.pth"),
    ],
)
def test_wrong_flags_are_one_line(small: Path, source: str, destination: str, flags: list[str], message: str) -> None:
    with pytest.raises(ReproError, match=re.escape(message)) as caught:
        ported(source, destination, *flags)
    assert "\n" not in str(caught.value)
    assert not Path(destination).exists()


def changed(*path: str, value: object) -> str:
    """The text of the mapping file with another value at a path of keys; None removes the key."""
    mapping = yaml.safe_load(yaml.safe_dump(SMALL))
    section = mapping
    for key in path[:-1]:
        section = section[key]
    section[path[-1]] = value
    if value is None:
        del section[path[-1]]
    return yaml.safe_dump(mapping)


MERGES = "a0: &a0 {k: v}\n" + "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 9))
LAUGHS = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 40))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MERGES, "<< is not supported"),
        (LAUGHS + "paddle: *a39", "unknown key in names.yaml 'a0'"),
        (LAUGHS.replace("a0:", "paddle:"), "paddle must be lines of `name: counterpart`, not ['x']"),
        ("paddle: &a {x: *a}", "paddle: x must be a name, a list of names or null, not {"),
        ("paddle: " + "[" * 20_000, "is not YAML"),
        ("paddle: 0x" + "1" * 20_000, "more than 100 digits"),
        ("paddle: !!python/object/apply:os.getcwd []", "is not YAML"),
        ("#" * (MAX_FILE_BYTES + 1), f"is larger than {MAX_FILE_BYTES} bytes"),
        ("", "names.yaml is not a mapping"),
        ("jax: {}", "unknown key in names.yaml 'jax'"),
        ("1: {}", "unknown key in names.yaml 1"),
        ("paddle: {1: a}", "paddle: 1 is not a name; put it in quotes"),
        ("paddle: {a: 1}", "paddle: a must be a name, a list of names or null, not 1"),
        ("paddle: {a: b, a: c}", "a occurs twice"),
        ("paddle: {a: [b, 1]}", "paddle: a must be a name, a list of names or null, not ['b', 1]"),
        ("paddle: {null: null}", "paddle: null must be a list of names, not None"),
        ("paddle: {[a, b]: c}", "is not YAML"),
        ("a: &a [" + "x, " * 2000 + "x]\n", "unknown key in names.yaml 'a'"),
        (
            "paddle: {x0: &a [" + "x, " * 2000 + "x]" + "".join(f", x{i}: *a" for i in range(1, 99)) + "}",
            "lists more than",
        ),
        ("weights: [torch]", "weights must be lines of a backend, not ['torch']"),
        ("weights: {jax: {}}", "unknown key in names.yaml, weights: 'jax'"),
        ("weights: {torch: [1]}", "weights: torch must be lines of `name: {kind: ..., shape: [...]}`"),
        ("paddle: {a: b}", "names.yaml does not list the kinds and shapes of the weights; run repro.parity with"),
        (changed("weights", "torch", value=None), "does not list the kinds and shapes"),
        (changed("paddle", value=None), "does not list the kinds and shapes"),
        (changed("weights", "torch", "fc.weight", "kind", value="dense"), "fc.weight must be like {kind: conv"),
        (changed("weights", "torch", "fc.weight", "kind", value=["linear"]), "fc.weight must be like {kind: conv"),
        (changed("weights", "torch", "fc.weight", "shape", value=[9]), "fc.weight must be like {kind: conv"),
        (changed("weights", "torch", "fc.weight", "shape", value=[3, -3]), "fc.weight must be like {kind: conv"),
        (changed("weights", "torch", "fc.weight", "shape", value=[True, 3]), "fc.weight must be like {kind: conv"),
        (changed("weights", "torch", "fc.weight", "groups", value=0), "fc.weight must be like {kind: conv"),
        (changed("weights", "torch", "fc.weight", "group", value=1), "fc.weight must be like {kind: conv"),
        (changed("weights", "torch", "fc.weight", "shape", value=[10**30, 3]), "fc.weight (1000"),
        (changed("paddle", "fc.wieght", value="x"), "unknown weight in names.yaml, paddle: 'fc.wieght': did you mean"),
        (changed("paddle", "fc.weight", value="haed.weight"), "unknown weight for fc.weight in names.yaml, paddle:"),
        (changed("paddle", "fc.weight", value=None), "fc.weight (3, 3) linear has no counterpart"),
        (changed("paddle", "fc.weight", value="norm.running_mean"), "does not fit norm.running_mean (3,) norm_mean"),
        (changed("weights", "paddle", "head.weight", "kind", value="bias"), "is of another kind than head.weight"),
    ],
)
def test_a_damaged_mapping_is_one_line(text: str, message: str, small: Path) -> None:
    Path("names.yaml").write_text(text)
    with pytest.raises(ReproError, match=re.escape(message)) as caught:
        ported("net.pth", "out.pdparams")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000
    assert not Path("out.pdparams").exists()


def test_the_mapping_file_may_be_missing(small: Path) -> None:
    with pytest.raises(ReproError, match=r"cannot read the mapping names\.yaml: No such file"):
        shutil.move("names.yaml", "elsewhere.yaml")
        ported("net.pth", "out.pdparams")
