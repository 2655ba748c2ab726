"""User models with several and integer inputs, outputs of any form, and two models in one framework."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import yaml

from repro import port
from repro.errors import ReproError
from repro.interface.module_outputs import output_tensors
from repro.parity.__main__ import main
from repro.parity.record import Record
from repro.parity.user_models.inputs import parse_inputs, random_inputs, with_batch
from repro.parity.user_models.models import load_random_weights, load_user_models
from repro.parity.user_models.rungs import run_user_rungs
from repro.weights.formats import read_file, write_file
from repro.workers.client import Worker

FOLDER = Path(__file__).resolve().parents[1] / "programs/user_models"
INPUTS = ("2,3,6,5", "int64:2,4<7")
Compare = Callable[..., dict[tuple[int, str], Record]]


@pytest.fixture(scope="module")
def second(require_backend: Callable[[str], None]) -> Iterator[Worker]:
    """A second worker in PyTorch."""
    require_backend("torch")
    with ExitStack() as stack:
        yield stack.enter_context(Worker("torch", label="torch#2"))


@pytest.fixture
def compare(workers: dict[str, Worker], second: Worker, monkeypatch: pytest.MonkeyPatch,
            require_backend: Callable[[str], None]) -> Compare:  # fmt: skip
    """A function that compares "LABEL FUNCTION" in BACKEND_io.py, and returns (rung, label) -> record.

    lines: a list that gets the printed lines.
    """
    monkeypatch.chdir(FOLDER)

    def run(rungs, *functions, inputs=INPUTS, file=None, lines=None):
        pairs = dict(function.split() for function in functions)
        for label in pairs:
            require_backend(label.partition("#")[0])
        sources = {label: f"{label.partition('#')[0]}_io:{function}" for label, function in pairs.items()}
        chosen = {label: (workers | {"torch#2": second})[label] for label in pairs}
        printed: list[str] = [] if lines is None else lines
        models = load_user_models(chosen, sources, parse_inputs(inputs), file, printed.append)
        weights = load_random_weights(models, 0)
        return {(record.rung, record.backend): record for record in run_user_rungs(models, rungs, weights, 0)}

    return run


def places(record: Record) -> set[str]:
    return {where for where, _, _ in record.profile}


@pytest.mark.slow
def test_dictionaries_in_all_frameworks(compare: Compare) -> None:
    records = compare([0, 1, 2, 4], "torch dictionary", "paddle dictionary", "mindspore dictionary")
    assert all(record.agrees for record in records.values())
    for backend in ("paddle", "mindspore"):
        assert {"output['scores']", "output['boxes']"} <= places(records[1, backend])
        assert "gradient of embedding.weight" in places(records[4, backend])


@pytest.mark.slow
def test_outputs_are_paired_by_path_or_by_order(compare: Compare) -> None:
    records = compare([1, 4], "torch nested", "paddle nested")
    assert all(record.agrees for record in records.values())
    outputs = {"output['all'][0]", "output['all'][1]['boxes']", "output['classes']"}
    assert outputs <= places(records[1, "paddle"])
    for form in ("named_tuple", "data_class", "hub", "dictionary"):
        records = compare([1], f"torch {form}", "paddle build")
        assert records[1, "paddle"].agrees
        assert any("boxes" in place or place == "output[1]" for place in places(records[1, "paddle"]))


def test_an_output_that_one_model_lacks_is_not_compared(compare: Compare) -> None:
    lines: list[str] = []
    records = compare([1], "torch one", "paddle build", lines=lines)
    assert records[1, "paddle"].agrees
    assert "not compared: output[1] of paddle, which no other model has" in lines
    assert "output[1]" not in places(records[1, "paddle"])


@pytest.mark.slow
def test_every_output_counts(compare: Compare) -> None:
    records = compare([1, 4], "torch build", "torch#2 wrong_boxes")
    assert records[1, "torch#2"].diverges
    assert records[1, "torch#2"].where == "output[1]"
    assert records[4, "torch#2"].diverges


@pytest.mark.slow
def test_models_without_fractions_in_their_inputs(compare: Compare) -> None:
    inputs = ("int64:2,6<9",)
    records = compare([1, 2, 4], "torch text", "paddle text", inputs=inputs)
    assert {record.verdict for record in records.values()} <= {"equal", "rounding"}
    records = compare([1], "torch text", "torch#2 scaled_text", inputs=inputs)
    assert records[1, "torch#2"].where == "logits"


@pytest.mark.slow
def test_one_framework_twice_is_bit_identical(compare: Compare, tmp_path: Path) -> None:
    file = tmp_path / "names.yaml"
    records = compare([0, 1, 2, 4], "torch build", "torch#2 dictionary", file=file)
    assert {record.verdict for (rung, label), record in records.items() if label == "torch#2"} <= {"equal", "rounding"}
    mapping = yaml.safe_load(file.read_text())
    assert list(mapping) == ["torch#2", "weights"]
    assert list(mapping["weights"]) == ["torch", "torch#2"]


def test_weights_are_ported_between_two_models_of_one_framework(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    weight = {"kind": "linear", "shape": [2, 2]}
    mapping = {
        "torch#2": {"fc.weight": "head.weight"},
        "weights": {"torch": {"fc.weight": weight}, "torch#2": {"head.weight": weight}},
    }
    Path("names.yaml").write_text(yaml.safe_dump(mapping, sort_keys=False))
    array = np.arange(4, dtype=np.float32).reshape(2, 2)
    write_file(Path("old.pth"), {"fc.weight": array}, {})
    with pytest.raises(ReproError, match=r"names\.yaml has several models of torch; give --to torch or torch#2"):
        port.main(["old.pth", "new.pth", "--mapping", "names.yaml"])
    port.main(["old.pth", "new", "--mapping", "names.yaml", "--to", "torch#2"])
    assert np.array_equal(read_file(Path("new.pth"))[0]["head.weight"], array)
    port.main(["new.pth", "back.pth", "--mapping", "names.yaml", "--to", "torch"])
    assert np.array_equal(read_file(Path("back.pth"))[0]["fc.weight"], array)


@pytest.mark.slow
def test_the_command_labels_the_second_model(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    require_backend: Callable[[str], None],
) -> None:  # fmt: skip
    require_backend("torch")
    monkeypatch.chdir(FOLDER)
    flags = ["--torch", "torch_io:text", "--torch", "torch_io:scaled_text", "--input", "int64:2,6<9", "--rungs", "0,1"]
    assert main([*flags, "--html", str(tmp_path / "page.html")]) == 1
    output = capsys.readouterr().out
    assert "torch_io:scaled_text in torch#2" in output
    assert "to t2" in output
    assert "torch#2 DIVERGES from torch: 1 cause" in output
    assert "torch#2" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    "text", ["", "x", "2,3,x", "2,,3", "0,3", "int64:2,3", "2,3<4", "int8:2<3", "int64:2,3<0", "2,3<"]
)
def test_bad_inputs(text: str) -> None:
    with pytest.raises(ReproError, match=r"--input is .*; give a shape, such as 2,3,64,64, or int64:2,16<1000"):
        parse_inputs([text])


def test_random_inputs() -> None:
    inputs = parse_inputs(["2,3", "int32:2,4<7", "5", "int64:2<3"])
    assert list(map(str, inputs)) == ["2,3", "int32:2,4<7", "5", "int64:2<3"]
    arrays = random_inputs(with_batch(inputs, 64), 0, 0)
    assert list(arrays) == ["images", "input 2", "input 3", "input 4"]
    assert [array.shape for array in arrays.values()] == [(64, 3), (64, 4), (5,), (64,)]
    assert [array.dtype.name for array in arrays.values()] == ["float32", "int32", "float32", "int64"]
    assert set(arrays["input 2"].ravel()) == set(range(7)) and set(arrays["input 4"]) == {0, 1, 2}
    assert not np.array_equal(arrays["images"], random_inputs(with_batch(inputs, 64), 0, 1)["images"])


class Named(NamedTuple):
    first: object
    second: object


@dataclass
class Data:
    scores: object
    name: str = ""


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (1.0, ["logits"]),
        ((1.0, 2.0), ["logits", "output[1]"]),
        ([1.0, [2.0, (3.0,)]], ["logits", "output[1][0]", "output[1][1][0]"]),
        (Named(1.0, 2.0), ["logits", "output[1]"]),
        (Data(1.0), ["output['scores']"]),
        ({"a": 1.0, "b": None, "c": {"d": 2.0}}, ["output['a']", "output['c']['d']"]),
        (([1.0], 2.0), ["output[0][0]", "output[1]"]),
        ((None, 2.0), ["output[1]"]),
    ],
)
def test_names_of_outputs(value: object, names: list[str]) -> None:
    assert list(output_tensors(value, lambda item: isinstance(item, float))) == names


def test_an_output_without_tensors() -> None:
    nested: list[object] = []
    nested.append(nested)
    values: tuple[object, ...] = ("text", None, {}, nested, Data)
    for value in values:
        with pytest.raises(ReproError, match="without tensors; let it return the tensors to compare"):
            output_tensors(value, lambda item: isinstance(item, float))
