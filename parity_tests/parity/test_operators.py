"""Single operators: the verdict, the scripts, and the command."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from repro.arrays import Arrays
from repro.errors import ReproError
from repro.parity.__main__ import main
from repro.parity.operators.activations import elementwise
from repro.parity.operators.definition import define
from repro.parity.operators.operator import Operator, Setting, Settings, own_default
from repro.parity.operators.report import list_operators, report_finding
from repro.parity.operators.script import standalone_script, worker_script
from repro.parity.operators.table import OPERATORS, find_operator
from repro.parity.operators.verdict import Finding, examine
from repro.workers.client import Worker, interpreter

FRAMEWORKS = ("torch", "paddle", "mindspore")
# Operators whose gradient or kernel a framework lacks on the CPU
REFUSED = {"instance_norm": "mindspore", "channel_shuffle": "mindspore"}


class MadeUpWorker:
    """A worker that computes the definition in place of a framework, with a mistake."""

    def __init__(self, operator: Operator, settings: Mapping[str, Any], mistake: Callable[[Arrays], Any]):
        self.operator, self.settings, self.mistake = operator, settings, mistake

    def request(self, request: str, arrays: Arrays, script: str) -> tuple[Any, Arrays]:
        right = define(self.operator, arrays, self.settings)
        with np.errstate(over="ignore"):
            results = {name: array.astype(arrays["x"].dtype) for name, array in right.low.items()}
        refusal = self.mistake(results)
        return refusal, {} if refusal else results


def judge(operator: Operator, *assignments: str, **mistakes: Callable[[Arrays], Any]) -> Finding:
    """The verdict if the frameworks compute what they document, except for these mistakes."""
    chosen = operator.parse(list(assignments))
    workers = {
        name: MadeUpWorker(operator, operator.documented(name, chosen), mistakes.get(name, lambda results: None))
        for name in FRAMEWORKS
    }
    return examine(operator, chosen, workers)  # type: ignore[arg-type]


def made_up_operator(function: Callable[[np.ndarray], np.ndarray]) -> Operator:
    """An operator of a vector of two, which no framework computes."""

    def render(settings: Settings) -> str:
        return "x"

    return Operator("made up", elementwise(function), render, render, render, shape=(2,))


def change(name: str, value: Callable[[np.ndarray], Any]) -> Callable[[Arrays], None]:
    """A mistake in one result."""

    def mistake(results: Arrays) -> None:
        results[name] = np.asarray(value(results[name]), results[name].dtype)

    return mistake


def drop_gradient(results: Arrays) -> None:
    """A framework that returns no gradient."""
    del results["gradient of x"]


def test_frameworks_without_mistakes_are_equal() -> None:
    assert judge(OPERATORS["relu"]).verdict == "equal"


@pytest.mark.parametrize(
    "mistake",
    [
        change("y", lambda y: y + 1e-3),
        change("y", lambda y: np.where(np.arange(y.size).reshape(y.shape) == 3, np.nan, y)),
        change("y", lambda y: np.where(np.arange(y.size).reshape(y.shape) == 3, np.inf, y)),
        change("y", lambda y: y[:1]),
        change("gradient of x", lambda gradient: gradient * 1.01),
        drop_gradient,
    ],
    ids=["values", "a NaN", "an infinity", "the shape", "the gradient", "no gradient"],
)
def test_a_mistake_is_a_bug_of_its_framework(mistake: Callable[[Arrays], Any]) -> None:
    finding = judge(OPERATORS["tanh"], paddle=mistake)
    assert (finding.verdict, finding.culprits) == ("bug", ("paddle",))
    assert "paddle does not compute what it documents" in finding.reason


def test_small_errors_are_rounding_in_float32_only() -> None:
    finding = judge(OPERATORS["tanh"], paddle=change("y", lambda y: y * (1 + 2e-7)))
    assert finding.verdict == "rounding"
    assert {result.framework: bool(result.note) for result in finding.frameworks} == {
        "torch": False, "paddle": True, "mindspore": False,
    }  # fmt: skip


def test_documented_defaults_that_differ_are_a_convention_and_named() -> None:
    finding = judge(OPERATORS["gelu"])
    assert (finding.verdict, finding.reason) == ("convention", "approximate is none in torch and tanh in mindspore")
    assert judge(OPERATORS["gelu"], "approximate=tanh").verdict == "equal"


def test_only_settings_that_matter_are_named() -> None:
    """The defaults of momentum differ, but so does its meaning, and together they are the same."""
    finding = judge(OPERATORS["batch_norm"])
    assert finding.reason == "running_variance is unbiased in torch and biased in paddle"
    assert "momentum_weighs" in judge(OPERATORS["batch_norm"], "momentum=0.3").reason


def test_a_mistake_counts_more_than_a_convention() -> None:
    assert judge(OPERATORS["gelu"], mindspore=change("y", lambda y: y + 1)).verdict == "bug"


def test_an_error_is_a_refusal() -> None:
    finding = judge(OPERATORS["relu"], torch=lambda results: "ValueError: no")
    assert (finding.verdict, finding.reason) == (
        "refused", "torch raises ValueError: no; the others: equal: the same bits in all frameworks",
    )  # fmt: skip


def test_another_choice_at_a_kink_is_a_convention_and_a_wrong_gradient_there_is_not() -> None:
    case = ("x=6,1", "shape=1,1,2")
    finding = judge(OPERATORS["relu6"], *case, paddle=change("gradient of x", lambda g: g + np.array([1, 0])))
    assert finding.verdict == "convention"
    assert "0 in torch, 1 in paddle, 0 in mindspore" in finding.reason
    assert (
        judge(OPERATORS["relu6"], *case, paddle=change("gradient of x", lambda g: g - np.array([1, 0]))).verdict
        == "bug"
    )


def test_results_that_rounding_may_hide_are_unanswerable() -> None:
    """The last bit of 1e8 is 8, so that the difference of two such numbers is not known in float32."""
    operator = made_up_operator(lambda x: x[..., 1:] - x[..., :1])
    finding = judge(operator, "x=100000000,100000008", paddle=change("y", lambda y: y + 16))
    assert finding.verdict == "unanswerable"


def test_what_is_too_large_for_float32_is_infinite_there() -> None:
    assert judge(made_up_operator(np.square), "x=1e30,1").verdict == "equal"


@pytest.mark.slow
def test_every_framework_computes_what_it_documents(workers: dict[str, Worker]) -> None:
    """Compute each operator with the defaults, which are the most used and have no known bug."""
    verdicts = {
        name: examine(operator, {}, workers) for name, operator in OPERATORS.items() if name not in ("conv2d", "pad")
    }
    assert len(verdicts) > 45
    wrong = {name: finding.reason for name, finding in verdicts.items() if finding.culprits}
    assert wrong == {}
    refused = {name: finding.reason for name, finding in verdicts.items() if finding.verdict == "refused"}
    assert {name: framework for name, framework in REFUSED.items() if framework in workers}.keys() == refused.keys()


@pytest.mark.slow
def test_a_script_runs_by_itself_and_computes_what_the_worker_computes(
    backend: str, workers: dict[str, Worker]
) -> None:
    operator = find_operator("batch_norm")
    chosen = operator.parse(["momentum=0.3", "shape=2,2,1,2"])
    script = standalone_script(operator, backend, chosen)
    command = [interpreter(backend), "-c", script]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    printed = dict(line.split(" = ") for line in output.splitlines() if " = " in line)
    inputs = operator.make_inputs(chosen)
    refusal, results = workers[backend].request("run_script", inputs, script=worker_script(operator, backend, chosen))
    assert refusal is None
    assert printed == {name: str(array.tolist()) for name, array in results.items()}
    assert {"y", "running_var", "gradient of x", "gradient of weight"} <= results.keys()


def test_a_worker_survives_what_a_framework_raises(workers: dict[str, Worker]) -> None:
    for worker in workers.values():
        refusal, results = worker.request("run_script", {}, script="raise ValueError('----\\nthe reason\\nmore')")
        assert (refusal, results) == ("ValueError: the reason", {})
        assert worker.request("run_script", {}, script="results = {'y': np.ones(2)}")[1]["y"].tolist() == [1, 1]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_scripts_pass_no_setting_that_was_not_chosen(framework: str) -> None:
    for operator in OPERATORS.values():
        for chosen in ({}, {"shape": operator.shape}):
            code = operator.code(framework, chosen)
            assert "None" not in f"{code.y} {code.setup}", operator.name
    assert "approximate" not in worker_script(OPERATORS["gelu"], framework, {})
    compile(standalone_script(OPERATORS["conv2d"], framework, {"padding": (1, 2)}), "script", "exec")


def test_the_list_has_every_operator_and_its_defaults() -> None:
    text = list_operators(OPERATORS.values())
    assert all(f"\n{name} " in f"\n{text}" for name in OPERATORS)
    assert "eps=1e-05|1e-05|1e-07" in text
    assert "[running_variance=unbiased|biased|unbiased]" in text


def test_the_report_has_the_calls_and_the_reason() -> None:
    operator = OPERATORS["layer_norm"]
    text = report_finding(operator, judge(operator, paddle=change("y", lambda y: y + 1)))
    assert "nn.LayerNorm((8,))(x)" in text
    assert "not as documented: y: " in text
    assert "\nBUG: not as documented in paddle" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--operator", "gelo"], "unknown operator 'gelo': did you mean gelu"),
        (["--operator", "gelu", "--set", "aproximate=tanh"], "did you mean approximate?"),
        (["--operator", "gelu", "--set", "approximate=erf"], "choose among none, tanh"),
        (["--operator", "gelu", "--set", "approximate"], "write --set approximate=VALUE"),
        (["--operator", "conv2d", "--set", "stride=two"], "give a value such as 1"),
        (["--operator", "conv2d", "--set", "bias=1"], "choose among true, false"),
        (["--operator", "conv2d", "--set", "kernel=9"], "is not defined for these settings"),
        (["--operator", "conv2d", "--set", "stride=0"], "is not defined for these settings"),
        (["--operator", "conv2d", "--set", "groups=0"], "is not defined for these settings"),
        (["--operator", "conv2d", "--set", "groups=3"], "is not defined for these settings"),
        (["--operator", "linear", "--set", "features=-1"], "is not defined for these settings"),
        (["--operator", "linear", "--set", "features=1000000000"], "give at most 512"),
        (["--operator", "softmax", "--set", "axis=5"], "is not defined for these settings"),
        (["--operator", "conv2d", "--set", "shape=2,3"], "conv2d takes 4 axes"),
        (["--operator", "conv2d", "--set", "shape=1,1,9999,9999"], "at most 65536 elements"),
        (["--operator", "conv2d", "--set", "shape=1,-1,3,3"], "positive whole numbers"),
        (["--operator", "relu", "--set", "x=1,two"], "give comma-separated numbers"),
        (["--operator", "batch_norm", "--set", "running_variance=biased"], "cannot be set"),
        (["--operator", "relu", "--rungs", "1"], "--rungs is a flag for models"),
        (["--operator", "relu", "--torch", "m:f"], "--torch is a flag for models"),
        (["--operator", "relu", "--modes", "torch:fused"], "--modes is a flag for models"),
        (["--operator", "list", "--json", "list.json"], "--json writes a finding"),
        (["--operator", "relu", "--script", "torch", "--json", "relu.json"], "--json writes a finding"),
        (["--operator", "relu", "--backends", "torch,jax"], "unknown framework 'jax'"),
        (["--set", "x=1"], "need --operator NAME"),
        (["--script", "torch"], "need --operator NAME"),
    ],
)
def test_mistakes_of_the_user_are_one_line(arguments: list[str], message: str) -> None:
    with pytest.raises(ReproError) as error:
        main(arguments)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_the_command_prints_a_verdict_and_exits_with_1_for_a_difference(
    capsys: pytest.CaptureFixture[str], require_backend: Callable[[str], None], tmp_path: Path
) -> None:
    require_backend("torch")
    file = tmp_path / "relu.json"
    assert main(["--operator", "relu", "--set", "x=-1,2", "--backends", "torch", "--json", str(file)]) == 0
    assert "EQUAL: as documented" in capsys.readouterr().out
    finding = json.loads(file.read_text())
    assert (finding["operator"], finding["verdict"], finding["culprits"]) == ("relu", "equal", [])
    assert finding["settings"] == {"x": "-1.0,2.0"}
    assert finding["frameworks"]["torch"]["call"] == "F.relu(x)"
    assert finding["frameworks"]["torch"]["documented"] is True
    require_backend("paddle")
    assert main(["--operator", "avg_pool2d", "--set", "padding=1", "--backends", "torch,paddle"]) == 1
    output = capsys.readouterr().out
    assert "CONVENTION: count_include_pad is true in torch and false in paddle" in output
    assert "F.avg_pool2d(x, kernel_size=3, padding=1, ceil_mode=False)" in output


def test_list_and_script_start_no_framework(capsys: pytest.CaptureFixture[str]) -> None:
    before = set(sys.modules)  # another test may have imported a framework
    assert main(["--operator", "list"]) == 0
    assert "conv2d" in capsys.readouterr().out
    assert main(["--operator", "relu", "--script", "torch", "--set", "x=nan"]) == 0
    assert "F.relu(x)" in capsys.readouterr().out
    assert not {"torch", "paddle", "mindspore"} & (set(sys.modules) - before)


def test_a_setting_reads_what_it_prints() -> None:
    assert Setting("size", (3, 2)).parse("4") == 4
    assert Setting("size", (3, 2)).parse("4,5") == (4, 5)
    assert own_default("padding", 0, 0, "same", words="valid").parse("valid") == "valid"
    assert own_default("eps", 1e-5, 1e-5, 1e-7).parse("0.001") == 0.001
    with pytest.raises(ReproError, match="give a value such as 0"):
        own_default("padding", 0, 0, "same").parse("reflect")
