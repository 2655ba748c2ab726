"""repro.parity.user_models: weights are paired, models compared, and faults named in both models."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from repro.errors import ReproError
from repro.interface.discovery import SHIPPED
from repro.parity.__main__ import main
from repro.parity.record import Record
from repro.parity.user_models.constants import describe_constants
from repro.parity.user_models.inputs import parse_inputs
from repro.parity.user_models.models import load_random_weights, load_user_models
from repro.parity.user_models.rungs import run_user_rungs
from repro.workers.client import Worker, WorkerError

FOLDER = Path(__file__).resolve().parents[1] / "programs/user_models"
INPUT = "2,3,9,7"
Compare = Callable[..., dict[tuple[int, str], Record]]


@pytest.fixture
def compare(workers: dict[str, Worker], monkeypatch: pytest.MonkeyPatch,
            require_backend: Callable[[str], None]) -> Compare:  # fmt: skip
    """A function that compares user models, such as `compare(rungs, torch="build", paddle="eps")`.

    It returns (rung, backend) -> record. lines: a list that gets the printed lines and the notes; then: a backend and
    the rungs on which only that backend and torch are compared afterwards.
    """
    monkeypatch.chdir(FOLDER)

    def run(rungs, file=None, shape=INPUT, lines=None, then=None, strict=False, **functions):
        for backend in functions:
            require_backend(backend)
        sources = {name: text if ":" in text else f"{name}_net:{text}" for name, text in functions.items()}
        printed: list[str] = [] if lines is None else lines
        chosen = {backend: workers[backend] for backend in functions}
        models = load_user_models(chosen, sources, parse_inputs([shape]), file, printed.append)
        weights = load_random_weights(models, 0)
        records = list(run_user_rungs(models, rungs, weights, 0, strict=strict))
        printed += describe_constants(models)
        assert [(r.rung, r.backend) for r in records] == [(rung, backend) for rung in rungs for backend in chosen]
        if then:
            two = {name: worker for name, worker in chosen.items() if name in ("torch", then[0])}
            records += run_user_rungs(replace(models, workers=two), then[1], weights, 0)
        return {(record.rung, record.backend): record for record in records}

    return run


def test_models_with_other_names_and_orders_agree(compare: Compare) -> None:
    lines: list[str] = []
    records = compare([0, 1, 4], lines=lines, torch="build", paddle="build", mindspore="build")
    assert {key for key, record in records.items() if record.verdict == "diverges"} == set()
    assert all(record.max_error and len(record.profile) >= 9 for key, record in records.items() if key[0])
    table = [line.split() for line in lines]
    assert ["hidden.weight", "8x8", "linear", "between.weight", "d1.weight"] in table
    assert ["bn2.running_var", "8", "norm_var", "block.1.running_var", "n2.running_var"] in table
    assert ["conv2.weight", "8x4x3x3", "conv", "block.0.weight", "c2.weight"] in table
    # two layers have the same shape: the one registered last runs first, and the names do not decide
    assert ["left.weight", "4x8x1x1", "conv", "parts_a.weight", "a.weight"] in table


@pytest.mark.slow
def test_training_mode_agrees_except_for_the_biased_variance_of_paddle(compare: Compare) -> None:
    lines: list[str] = []
    records = compare([2], lines=lines, torch="with_extras", paddle="build", mindspore="build")
    assert {record.verdict for record in records.values()} == {"rounding"}
    assert any(where.startswith("bn2.running_var") for where, _, _ in records[2, "paddle"].profile)
    assert lines[-1].startswith("note: paddle averages the biased variance of batches in 2 normalisations,")
    records = compare([2], torch="build", paddle="build", strict=True)
    assert records[2, "paddle"].where == "bn1.running_var, in paddle stem.1.running_var"
    assert "biased variance?" in records[2, "paddle"].reason
    assert records[2, "paddle"].reason.endswith("; all that diverge: bn1.running_var, bn2.running_var, of 13")


FAULTS = {
    "eps": (1, "bn2, in paddle block.1"),
    "swapped": (1, "input of hidden (after right), in paddle input of between (after parts_b)"),
    "no_activation": (1, "input of conv2 (after bn1), in paddle input of block.0 (after stem.1)"),
    "momentum": (2, "bn2.running_mean, in paddle block.1.running_mean"),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_in_both_models(fault: str, compare: Compare) -> None:
    rung, place = FAULTS[fault]
    records = compare([rung], torch="build", paddle=fault)
    assert records[rung, "torch"].verdict == "rounding"
    assert records[rung, "paddle"].verdict == "diverges"
    assert records[rung, "paddle"].where == place


def test_modules_that_are_cut_elsewhere_agree(compare: Compare) -> None:
    lines: list[str] = []
    records = compare([0, 1, 2, 4], lines=lines, shape="2,3,8,6", torch="torch_cuts:Net", paddle="paddle_cuts:Net")
    assert [record.sentence for record in records.values() if not record.agrees] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mistake", "place"),
    [
        ("OtherActivation", "input of norm (after bn2), in paddle input of norm (after b_norm)"),
        ("Unnormalised", "input of last (after mix)"),
    ],
)
def test_a_mistake_behind_a_cut_is_named(mistake: str, place: str, compare: Compare) -> None:
    record = compare([1], shape="2,3,8,6", torch="torch_cuts:Net", paddle=f"paddle_cuts:{mistake}")[1, "paddle"]
    assert (record.verdict, record.where) == ("diverges", place)


def test_a_model_without_float64_is_compared_in_float32(compare: Compare) -> None:
    lines: list[str] = []
    records = compare([1], lines=lines, torch="build", paddle="Single")
    assert records[1, "paddle"].verdict == "rounding"
    assert any(line.startswith("paddle is not compared in float64: ") for line in lines)


@pytest.mark.slow
def test_the_mapping_is_written_and_read_again_after_corrections(compare: Compare, tmp_path: Path) -> None:
    file = tmp_path / "mapping.yaml"
    compare([0], file, torch="build", paddle="build")
    values = yaml.safe_load(file.read_text())
    assert list(values) == ["paddle", "weights"]
    assert values["weights"]["paddle"]["block.0.weight"] == {"kind": "conv", "shape": [8, 4, 3, 3], "groups": 2}
    assert len(values["paddle"]) == 19
    right = dict(values["paddle"])
    for leaf in ("weight", "bias"):
        values["paddle"][f"left.{leaf}"], values["paddle"][f"right.{leaf}"] = (
            right[f"right.{leaf}"], right[f"left.{leaf}"],
        )  # fmt: skip
    file.write_text(yaml.safe_dump(values))
    wrong = compare([1], file, torch="build", paddle="build")[1, "paddle"]
    assert wrong.where.startswith("left, in paddle parts_b") or "hidden" in wrong.where
    file.write_text(yaml.safe_dump({"paddle": right}))
    lines: list[str] = []
    assert compare([1], file, lines=lines, torch="build", paddle="build")[1, "paddle"].verdict == "rounding"
    assert lines[0] == f"brought {file} up to date"
    assert yaml.safe_load(file.read_text()) == {"paddle": right, "weights": values["weights"]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda m: m.update({"fc.bias": None}),
            r"head\.bias \(5,\) bias is not the counterpart of any weight; correct .*`NAME: null` for a weight that",
        ),
        (lambda m: m.update({"fc.bias": ["head.bias", "head.bias"]}), r"fc\.bias .* does not fit head\.bias"),
        (lambda m: m.update({"fc.bias": "between.bias"}), r"fc\.bias \(5,\) bias does not fit between\.bias \(8,\)"),
        (lambda m: m.update({"fc.bias": "heads.bias"}), r"unknown weight for fc\.bias.*did you mean head\.bias"),
        (lambda m: m.update({"fc.bia": "head.bias"}), r"unknown weight in .*'fc\.bia': did you mean fc\.bias"),
        (lambda m: m.update({"fc.bias": 3}), r"paddle: fc\.bias must be a name, a list of names or null, not 3"),
        (lambda m: m.update({"bn1.weight": m["bn1.bias"]}), r"bn1\.weight .* is of another kind than stem\.1\.bias"),
        (
            lambda m: m.update({"left.bias": m["right.bias"]}),
            r"left\.bias .* has the same counterpart, parts_b\.bias, as another",
        ),
    ],
)
def test_bad_mapping(change, message: str, compare: Compare, tmp_path: Path, good: dict) -> None:
    file = tmp_path / "mapping.yaml"
    mapping = dict(good)
    change(mapping)
    file.write_text(yaml.safe_dump({"paddle": mapping}))
    with pytest.raises(ReproError, match=message):
        compare([1], file, torch="build", paddle="build")


@pytest.fixture(scope="module")
def good() -> dict[str, str]:
    """The right mapping from the PyTorch model to the Paddle model."""
    layers = {"conv1": "stem.0", "bn1": "stem.1", "conv2": "block.0", "bn2": "block.1", "left": "parts_a",
              "right": "parts_b", "hidden": "between", "fc": "head"}  # fmt: skip
    leaves = ("weight", "bias", "running_mean", "running_var")
    return {
        f"{first}.{leaf}": f"{second}.{leaf}"
        for first, second in layers.items()
        for leaf in leaves[: 4 if first.startswith("bn") else 1 if first == "conv1" else 2]
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("paddle: [1]", "paddle must be lines of `name: counterpart`"),
        ("mindspore: {}", "paddle must be lines of"),
        ("padle: {}", "unknown key in .*'padle': did you mean paddle"),
        ("paddle: {a: b, a: c}", "a occurs twice"),
        ("paddle: {", "is not YAML"),
        ("", "is not a mapping"),
    ],
)
def test_bad_mapping_files(text: str, message: str, compare: Compare, tmp_path: Path) -> None:
    file = tmp_path / "mapping.yaml"
    file.write_text(text)
    with pytest.raises(ReproError, match=message):
        compare([1], file, torch="build", paddle="build")


def test_another_shape_has_no_counterpart(compare: Compare) -> None:
    with pytest.raises(ReproError, match=r"fc\.weight \(6, 8\) linear has no counterpart.*give --mapping FILE"):
        compare([1], torch="wide", paddle="build")


def test_gradients_need_no_logits(compare: Compare) -> None:
    records = compare([1, 4], torch="maps", paddle="maps")
    assert {record.verdict for record in records.values()} == {"rounding"}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere:build", "cannot import nowhere: ModuleNotFoundError: No module named 'nowhere'"),
        ("torch_net:biuld", "unknown function of torch_net 'biuld': did you mean build"),
        ("torch_net:number", "torch_net:number is of type int; name a function"),
        ("torch_net:raising", r"torch_net:raising failed: KeyError: 'lost' at .*torch_net\.py:\d+"),
        ("torch_net:no_model", r"torch_net:no_model is a list, not a torch\.nn\.Module"),
        ("torch_net:text", "the model returns a str without tensors; let it return the tensors to compare"),
    ],
)
def test_bad_models(source: str, message: str, compare: Compare) -> None:
    with pytest.raises(WorkerError, match=message) as caught:
        compare([1], torch=source, paddle="build")
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_command_with_another_interpreter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    require_backend: Callable[[str], None],
) -> None:  # fmt: skip
    for backend in ("torch", "paddle"):
        require_backend(backend)
    wrapper = tmp_path / "python"
    python = os.environ.get("REPRO_PADDLE_PYTHON", sys.executable)
    wrapper.write_text(f'#!/bin/sh\necho used >> "{tmp_path}/used"\nexec "{python}" "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("REPRO_PADDLE_PYTHON", str(wrapper))
    monkeypatch.chdir(FOLDER)
    models = ["--torch", "torch_net:build", "--paddle", "paddle_net:no_activation"]
    flags = [*models, "--input", "2,3,8,8", "--rungs", "0,1"]
    files = ["--json", str(tmp_path / "out.json"), "--html", str(tmp_path / "out.html")]
    assert main([*flags, *files]) == 1
    assert (tmp_path / "used").exists()
    printed = capsys.readouterr().out
    assert "paddle DIVERGES from torch: 1 cause; " in printed
    assert (
        "1  between bn1 and conv2 (paddle: between stem.1 and block.0): torch computes relu(bn1), and paddle bn1"
        in printed
    )
    assert '"rung": 1' in (tmp_path / "out.json").read_text()
    assert "torch_net:build" in (tmp_path / "out.html").read_text()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--torch", "a:b"], "one user model to compare; give at least two of --torch"),
        (["--mapping", "m.yaml"], "no user model to compare"),
        (["--strict"], "no user model to compare"),
        (["--torch", "a.b", "--paddle", "a:b"], r"--torch is 'a\.b'; give MODULE:FUNCTION"),
        (["--torch", "a:b", "--paddle", "a:b", "--input", "2,3,x"], "--input is '2,3,x'; give a shape"),
        (["--torch", "a:b", "--paddle", "a:b", "--rungs", "1,5"], "rung '5' does not exist for user models"),
        *(
            (["--torch", "a:b", "--paddle", "a:b", *flag], "--models, --backends and --modes are for models of this")
            for flag in (["--models", "resnet50"], ["--backends", "torch"], ["--modes", "torch:fused"])
        ),
    ],
)
def test_bad_flags(flags: list[str], message: str) -> None:
    with pytest.raises(ReproError, match=message):
        main(flags)


@pytest.mark.slow
def test_packages_resnet18(compare: Compare) -> None:
    """Paddle's model agrees; MindCV pads even sizes as TensorFlow does."""
    functions = {name: f"packages:{name}" for name in SHIPPED}
    records = compare([1], shape="2,3,32,32", then=("paddle", [2]), **functions)
    assert records[1, "paddle"].verdict == "rounding"
    assert records[1, "mindspore"].where == "input of layer1.0.conv1 (after bn1)"
    assert records[2, "paddle"].verdict == "rounding"
