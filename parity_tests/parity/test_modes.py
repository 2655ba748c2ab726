"""repro.parity.modes: other ways to compute, judged as columns of the ladder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from parity_tests.faults.fault import Fault
from parity_tests.faults.garden import plant, registered
from repro.errors import ReproError
from repro.interface import TrainSettings
from repro.parity import judge
from repro.parity.__main__ import main
from repro.parity.console import VerdictTable
from repro.parity.ladder import run_rungs
from repro.parity.modes import MODES, columns_on
from repro.parity.tolerance import FRACTION_BITS, round_to
from repro.parity.training_rungs import RANKS_STEPS
from repro.parity.variants import start_workers
from repro.workers.client import Worker

MODEL = "shufflenet_v1_g3_x0_25"


def test_modes_have_settings_of_a_trainer() -> None:
    for name, mode in MODES.items():
        assert name.startswith(mode.backend) or mode.runtime == name
        TrainSettings(**mode.settings)
        assert mode.precision == "float32" or mode.precision in FRACTION_BITS


def test_columns_of_rungs() -> None:
    columns = ["torch", "torch:bfloat16", "paddle:inference"]
    assert columns_on(1, columns) == columns
    assert columns_on(4, columns) == columns[:2]
    assert columns_on(0, columns) == columns[:1]
    assert columns_on(6, [*columns, "torch:two_ranks"]) == ["torch", "torch:two_ranks"]


@pytest.mark.parametrize(("precision", "step"), [("bfloat16", 2**-7), ("float16", 2**-10)])
def test_numbers_are_rounded_up_and_down(precision: str, step: float) -> None:
    rng = np.random.default_rng(0)
    numbers = np.array([1 + step / 4] * 4000 + [-1.5, 0.0], np.float32)
    rounded = round_to(precision, numbers, rng)
    assert set(rounded[:-2].tolist()) == {1.0, 1.0 + step}
    assert abs((rounded[:-2] == 1.0).mean() - 0.75) < 0.03
    assert rounded[-2:].tolist() == [-1.5, 0.0]


def test_modes_are_numbered_in_the_table() -> None:
    table = VerdictTable([MODEL], {1: "eval"}, ["torch", "torch:bfloat16", "onnxruntime"])
    assert table.heading.splitlines()[1].split() == ["to", "m1", "m2"]
    assert table.marks["onnxruntime"] == "m2"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "rungs"),
    [
        (["torch:bfloat16", "paddle:inference"], [1]),
        # torch:compiled takes minutes to compile beside other tests; test_trainer_edges.py holds it to eager mode
        ([name for name, mode in MODES.items() if name != "torch:compiled" and 1 in mode.rungs], [1, 2, 4]),
    ],
)
def test_modes_agree(
    names: list[str], rungs: list[int], has_backend: Callable[[str], bool], require_backend: Callable[[str], None]
) -> None:
    require_backend("torch")
    modes = [name for name in names if has_backend(MODES[name].backend)]
    with ExitStack() as stack:
        workers = start_workers(["torch"], stack, modes)
        records = list(run_rungs(MODEL, rungs, workers))
    assert [(record.rung, record.backend) for record in records] == [
        (rung, column) for rung in rungs for column in columns_on(rung, workers)
    ]
    assert [record.sentence for record in records if record.diverges] == []
    assert all(record.agrees for record in records if record.rung == 1)
    assert all(record.max_error for record in records)
    # the modes are not the plain backends
    errors = {record.backend: record.max_error for record in records if record.rung == 1}
    for mode in modes:
        if MODES[mode].precision != "float32":
            assert (errors[mode] or 0) > 10 * (errors["torch"] or 0), mode


@pytest.mark.slow
def test_two_ranks_train_as_one_process(backend: str, require_backend: Callable[[str], None]) -> None:
    """Ranks that normalise together equal a process with the whole batch, and others one with its two parts."""
    require_backend("torch")
    modes = [f"{backend}:two_ranks", f"{backend}:sync_norm"]
    with ExitStack() as stack:
        workers = start_workers(["torch"], stack, modes)
        _, *records = run_rungs(MODEL, [6], workers)
    assert [record.backend for record in records] == modes
    assert [record.sentence for record in records if not record.agrees] == []
    assert all(len({point[0].partition(":")[0] for point in record.profile}) == RANKS_STEPS for record in records)


@pytest.mark.slow
def test_two_ranks_have_the_reference_of_their_normalisation(
    monkeypatch: pytest.MonkeyPatch, require_backend: Callable[[str], None]
) -> None:
    require_backend("torch")
    monkeypatch.setattr(judge, "ATTEMPTS", 1)  # each starts the ranks again
    monkeypatch.setitem(MODES, "torch:two_ranks", replace(MODES["torch:two_ranks"], reference={}))
    with ExitStack() as stack:
        _, record = run_rungs(MODEL, [6], start_workers(["torch"], stack, ["torch:two_ranks"]))
    assert (record.verdict, record.where) == ("diverges", "step 1: loss")


@contextmanager
def faulty_mode(mode: str, fault: Fault) -> Iterator[dict[str, Worker]]:
    """Start torch, and a mode of a backend with a fault."""
    with registered(MODES[mode].backend) as (name, file):
        plant(fault, file)
        with Worker("torch") as sound, Worker(name, label=mode, mode=MODES[mode].request) as faulty:
            yield {"torch": sound, mode: faulty}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "target", "code", "where"),
    [
        ("paddle:inference", "", "model.stages[1][1].expand.norm._epsilon = 9.0", "stages.1.1.expand.norm (64x64)"),
        (
            "torch:fused",
            "",
            "model.stages[1][1].expand.norm.eps = 9.0",
            "stages.1.1.expand (after stages.1.1.shuffle) (64x64)",
        ),
        ("mindspore:fused", "", "model.stages[1][1].expand.norm.eps = 9.0", "stages.1.1.expand.norm (64x64)"),
        ("torch:bfloat16", "stages.1.1.expand.norm", "target.eps = 9.0", "stages.1.1.expand.norm (64x64)"),
    ],
)
def test_a_fault_in_a_mode_is_named(
    mode: str, target: str, code: str, where: str, require_backend: Callable[[str], None]
) -> None:
    require_backend("torch")
    require_backend(MODES[mode].backend)
    with faulty_mode(mode, Fault("fault", MODEL, target, 1, code)) as workers:
        _, record = run_rungs(MODEL, [1], workers)
    assert (record.backend, record.verdict, record.where) == (mode, "diverges", where)


@pytest.mark.slow
def test_the_command(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    require_backend: Callable[[str], None],
) -> None:
    """The columns are named, and a second run is from the cache."""
    monkeypatch.setattr("repro.parity.cache.cache_folder", lambda: tmp_path)
    require_backend("torch")
    arguments = ["--models", MODEL, "--rungs", "0,1", "--backends", "torch", "--modes", "torch:float16"]
    for cached in ("", " (3 from earlier runs)"):
        assert main(arguments) == 0
        output = capsys.readouterr().out
        assert "modes: m1 torch:float16\n" in output
        assert "3 comparisons, 0 diverge, in" in output and output.endswith(f"s{cached}\n")
    with pytest.raises(ReproError, match="unknown mode 'torch:float61': did you mean torch:float16"):
        main([*arguments[:-1], "torch:float61"])
