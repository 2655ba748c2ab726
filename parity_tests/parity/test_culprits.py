"""Planted mistakes are caught and named; the library and the fixture for tests report the same as the command."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import repro.parity
from parity_tests.corpus.mistakes import MISTAKES, NETWORKS, Outcome, outcomes
from repro.errors import ReproError
from repro.parity.causes.culprit import Culprit
from repro.parity.causes.substitution import Pass, Substitution, find_axis_order
from repro.parity.record import Record
from repro.parity.user_models.report import describe_mapping, describe_verdicts, unexplained
from repro.specs import Weight
from repro.workers.client import Worker

FOLDER = Path(__file__).resolve().parents[1] / "programs/user_models"


@pytest.fixture(scope="module")
def core(require_backend: Callable[[str], None]) -> list[Outcome]:
    for backend in ("torch", "paddle", "mindspore"):
        require_backend(backend)
    return list(outcomes(core=True, text=""))


def test_running_statistics_are_looked_at_once_and_after_the_values() -> None:
    substitution: Any = Substitution.__new__(Substitution)
    weights = {"norm.weight": Weight((2,), "norm_scale"), "norm.running_mean": Weight((2,), "norm_mean")}
    substitution.models = SimpleNamespace(spec=SimpleNamespace(weights=weights))
    names = ("input of norm", "norm.running_mean", "norm", "logits")
    substitution.expected = Pass(dict.fromkeys(names, np.zeros(2)), {})
    for rung, statistics in ((1, []), (2, ["norm.running_mean"])):
        substitution.rung = rung
        assert substitution._order() == ["input of norm", "norm", "logits", *statistics]


@pytest.mark.slow
def test_every_mistake_of_the_core_is_caught_placed_and_named(core: list[Outcome]) -> None:
    assert len(core) > 10
    planted = [outcome for outcome in core if not outcome.mistake.is_sound]
    assert [outcome.mistake.name for outcome in planted if not outcome.caught] == []
    assert [(o.mistake.name, o.culprits) for o in planted if not o.place_right] == []
    assert [(o.mistake.name, o.culprits) for o in planted if not o.cause_named] == []


@pytest.mark.slow
def test_no_sound_port_raises_an_alarm(core: list[Outcome]) -> None:
    ports = [outcome for outcome in core if outcome.mistake.is_sound]
    assert len(ports) == 6
    assert [(o.mistake.title, o.errors) for o in ports if o.caught] == []


@pytest.mark.slow
def test_calls_and_modules_are_named(core: list[Outcome]) -> None:
    culprit = next(o.culprits[0] for o in core if o.mistake.name == "same padding with a stride")
    assert culprit.calls == ("torch_cnn.py:47", "paddle_cnn_7.py:54")
    assert culprit.modules[0].startswith("Conv2d(3, 16, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1)")
    assert culprit.modules[1].startswith("Conv2D(3, 16, kernel_size=[3, 3], stride=[2, 2], padding=SAME")


def test_mistakes_are_small_edits_of_the_networks() -> None:
    assert len(MISTAKES) >= 150
    assert {mistake.network for mistake in MISTAKES} == {"cnn", "attention", "resize"}
    for mistake in MISTAKES:
        text = (NETWORKS / f"{mistake.framework}_{mistake.network}.py").read_text()
        assert text.count(mistake.old) == 1, mistake.name
        assert mistake.new != mistake.old
    names = [(mistake.network, mistake.name) for mistake in MISTAKES]
    assert len(set(names)) == len(names)


def test_check_returns_verdicts_and_causes(workers: dict[str, Worker], require_backend: Callable[[str], None]) -> None:
    for backend in ("torch", "paddle"):
        require_backend(backend)
    comparison = repro.parity.check(
        torch="torch_net:build", paddle="paddle_net:no_activation", inputs=[(2, 3, 9, 7)], rungs=[1], folder=FOLDER,
        workers=dict(workers),
    )  # fmt: skip
    assert not comparison.agrees
    assert comparison.verdicts == {"torch": "rounding", "paddle": "diverges"}
    assert [cause.sentence for cause in comparison.causes] == [
        "between bn1 and conv2 (paddle: between stem.1 and block.0): torch computes relu(bn1), and paddle bn1"
    ]
    assert comparison.report().startswith("paddle DIVERGES from torch: 1 cause; ")
    assert "fc.weight" not in comparison.report()
    rows = [line.split() for line in comparison.report(show_mapping=True).splitlines()]
    assert ["hidden.weight", "8x8", "linear", "between.weight"] in rows


def test_layers_that_run_without_gradients_are_named(
    workers: dict[str, Worker], require_backend: Callable[[str], None]
) -> None:
    for backend in ("torch", "paddle"):
        require_backend(backend)
    comparison = repro.parity.check(
        torch="torch_parts:batch_norm", paddle="paddle_parts:without_gradients", inputs=[(2, 3, 9, 7)], rungs=[4],
        folder=FOLDER, workers=dict(workers),
    )  # fmt: skip
    causes = [cause.sentence for cause in comparison.causes]
    assert "after norm: paddle stops the gradient from hidden's input to norm" in causes
    assert "conv: the gradient of conv.weight: it is 0 in paddle; is the gradient stopped there?" in causes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"torch": "a:b"}, "one user model to compare"),
        ({"torch": "a.b", "paddle": "a:b"}, r"--torch is 'a\.b'; give MODULE:FUNCTION"),
        ({"torch": ["a:b", "a:c"], "rungs": [3]}, "rung '3' does not exist for user models"),
        ({"torch": ["a:b", "a:c"], "seeds": 0}, "the number of seeds is 0"),
        ({"torch": ["a:b", "a:c"], "inputs": [(2, 0)]}, "--input is '2,0'; give a shape"),
    ],
)
def test_bad_arguments_of_check(arguments: dict, message: str) -> None:
    with pytest.raises(ReproError, match=message):
        repro.parity.check(**arguments)


PORT_TESTS = """
def test_same(assert_parity):
    comparison = assert_parity(torch=["parts:plain", "parts:plain"], inputs="2,3,8,8", rungs=[0])
    assert set(comparison.verdicts.values()) == {"equal"}


def test_other(assert_parity):
    assert_parity(torch=["parts:plain", "parts:frozen"], inputs="2,3,8,8", rungs=[0])
"""


@pytest.mark.slow
def test_fixture_for_tests(tmp_path: Path, require_backend: Callable[[str], None]) -> None:
    require_backend("torch")
    (tmp_path / "parts.py").write_text((FOLDER / "torch_parts.py").read_text())
    (tmp_path / "test_port.py").write_text(PORT_TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "repro.parity.pytest_plugin", "-p", "no:cacheprovider", "-q"]
    environment = {"PYTHONPATH": str(Path(repro.parity.__file__).parents[2])} | os.environ
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "1 failed, 1 passed" in done.stdout
    assert "the models differ\ntorch#2 DIVERGES from torch: " in done.stdout
    assert "it is trained in torch and frozen in torch#2" in done.stdout


CAUSE = Culprit(1, "paddle", "bn", "norm", "its epsilon is 1 in torch and 2 in paddle", ("A()", "B()"), ("a.py:1", ""))
PROFILE = (("bn", 1.0, 0.1), ("fc", 1.0, 0.1))


def record(rung: int, verdict: str, *causes: Culprit) -> list[Record]:
    profile = PROFILE if verdict == "diverges" else ()
    first = Record("m", rung, "torch", "torch float64", "rounding", 0.1, 1.0, "bn", "")
    return [first, Record("m", rung, "paddle", "torch float64", verdict, 1.0, 0.1, "bn", "why", profile, causes)]  # type: ignore[arg-type]


def test_the_verdict_comes_first_and_then_the_causes() -> None:
    assert list(describe_verdicts([*record(1, "diverges", CAUSE), *record(4, "diverges")])) == [
        "paddle DIVERGES from torch: 1 cause; 1 other result is off, which follows",
        " 1  bn (paddle: norm): its epsilon is 1 in torch and 2 in paddle",
        "      torch   a.py:1  A()",
        "      paddle  B()",
    ]
    assert list(describe_verdicts(record(1, "rounding"))) == ["paddle agrees with torch"]
    assert list(describe_verdicts(record(2, "unanswerable"))) == ["paddle cannot be compared with torch on rung 2"]
    assert list(describe_verdicts(record(2, "diverges"))) == ["paddle DIVERGES from torch: no cause was found"]


def test_a_constant_of_a_framework_agrees_in_the_report() -> None:
    records = [*record(1, "constant"), *record(2, "rounding")]
    comparison = repro.parity.Comparison({}, {}, records, [], [], {}, 1.0)
    assert comparison.agrees
    assert comparison.verdicts == {"torch": "rounding", "paddle": "constant"}
    assert "~ a constant of a framework" in comparison.report()


def test_later_rungs_do_not_repeat_what_is_explained() -> None:
    records = [*record(1, "diverges"), *record(2, "diverges", CAUSE), *record(4, "diverges")]
    assert [(r.rung, r.backend) for r in unexplained(records)] == [(1, "paddle")]


def test_only_doubtful_rows_of_the_mapping_are_printed() -> None:
    rows = [
        "torch  shape  kind  paddle",
        "a.weight  8  conv  b.weight",
        *[f"c{i}.weight  8  conv  d  ? x" for i in range(9)],
    ]
    shown = list(describe_mapping(rows, show_all=False))
    assert shown[0] == "9 rows of the mapping are in doubt (--show-mapping prints all 10):"
    assert shown[-1] == "and 1 more"
    assert len(shown) == 10
    assert list(describe_mapping(rows, show_all=True)) == rows
    assert list(describe_mapping(rows[:2], show_all=False)) == []


@pytest.mark.slow
def test_a_mistake_among_modules_of_another_layout_is_the_only_cause(
    workers: dict[str, Worker], require_backend: Callable[[str], None]
) -> None:
    for backend in ("torch", "paddle"):
        require_backend(backend)
    causes = {}
    for model in ("Inverted", "Approximate"):
        comparison = repro.parity.check(
            torch="torch_cuts:Inverted", paddle=f"paddle_cuts:{model}", inputs=[(2, 3, 9, 7)], rungs=[1, 4],
            folder=FOLDER, workers=dict(workers),
        )  # fmt: skip
        causes[model] = [cause.sentence for cause in comparison.causes]
        assert comparison.agrees == (model == "Inverted")
    assert causes == {"Inverted": [], "Approximate": ["act: its tanh approximation is 0 in torch and 1 in paddle"]}


def test_layouts_are_turned_and_turned_back() -> None:
    array = np.random.default_rng(0).standard_normal((2, 6, 4, 4))
    for axes, shape in (((0, 2, 3, 1), (2, 4, 4, 6)), ((0, 2, 3, 1), (2, 16, 6)), ((0, 3, 2, 1), (2, 4, 4, 6))):
        other = array.transpose(axes).reshape(shape)
        layout = find_axis_order(array, other + 0.01)
        assert np.array_equal(layout.turn(array), other)
        assert np.array_equal(layout.turn_back(other), array)
