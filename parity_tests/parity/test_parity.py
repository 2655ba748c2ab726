"""Rungs 0 and 1 for every structure (repro.parity.forward_rungs), and the command with real backends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from parity_tests.faults.fault import Fault
from parity_tests.faults.garden import plant, registered
from repro.errors import ReproError
from repro.parity.__main__ import main
from repro.parity.forward_rungs import compare_evaluation, compare_structure
from repro.parity.ladder import run_rungs
from repro.parity.record import Record
from repro.specs import find_spec
from repro.weights.init import random_weights
from repro.workers.client import Worker, request_all

# One of every structure that the small ladder does not contain: other widths and depths have other numbers in the same
# code. `repro.parity --models all` has the rest, see docs/parity.md.
MODELS = (
    "asymmnet_large", "asymmnet_large_x0_35_r0", "asymmnet_small", "asymmnet_small_x0_5_r2",
    "mobilenet_v3_large_x0_5", "mobilenet_v3_small",
    "shufflenet_v1_g1_x0_5", "shufflenet_v1_g2_x1_0", "shufflenet_v1_g3_x0_25", "shufflenet_v1_g4_x1_0",
    "shufflenet_v1_g8_x0_5", "shufflenet_v2_x1_0", "shufflenet_v2_x0_5_torchvision",
    "efficientnet_v2_b0_same", "efficientnet_v2_s_article",
    "resnet50_v2", "resnet50_v2_keras",
    "resnet110_cifar", "vgg16_bn",
)  # fmt: skip
UNITS = (
    "resnet110_cifar_scaled", "resnet110_cifar_scaled_shortcut", "resnet110_cifar_dropout", "resnet110_cifar_bn_after",
    "resnet110_cifar_relu_before", "resnet110_cifar_relu_preact", "resnet110_cifar_full_preact",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_rungs_0_and_1(model: str, judged_workers: dict[str, Worker]) -> None:
    assert_equal(list(run_rungs(model, [0, 1], judged_workers)), judged_workers)


@pytest.mark.parametrize("model", UNITS)
def test_units_of_other_depth(model: str, judged_workers: dict[str, Worker]) -> None:
    """The differences between residual units show in 20 layers as well as in 110."""
    spec = find_spec(model, depth=20)
    weights = random_weights(spec, 0)
    request_all(judged_workers, "create_model", weights, name=model, options={"depth": 20}, seed=0)
    rungs = (compare_structure, compare_evaluation)
    assert_equal([record for rung in rungs for record in rung(spec, judged_workers, weights, 0)], judged_workers)


def assert_equal(records: list[Record], workers: dict[str, Worker]) -> None:
    assert [(record.rung, record.backend) for record in records] == [
        (rung, name) for rung in (0, 1) for name in workers
    ]
    assert [record for record in records if record.verdict == "diverges"] == []
    assert all(record.verdict == "equal" for record in records if record.rung == 0)
    # float32 never equals float64 by chance, so an error above 0 shows that the comparison took place
    assert all(record.max_error for record in records if record.rung == 1)


def test_command_writes_records(tmp_path: Path, backend: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "records.json"
    rungs = "0" if backend == "mindspore" else "0,1"
    assert main(["--models", "asymmnet_small", "--rungs", rungs, "--backends", backend, "--json", str(path)]) == 0
    records = json.loads(path.read_text())
    assert [record["rung"] for record in records] == [int(rung) for rung in rungs.split(",")]
    assert {"model", "rung", "backend", "reference", "verdict", "max_error", "tolerance", "where"} <= set(records[0])
    assert "0 diverge" in capsys.readouterr().out


@pytest.mark.slow
def test_command_exits_with_1(
    capsys: pytest.CaptureFixture[str], require_backend: Callable[[str], None]
) -> None:  # fmt: skip
    require_backend("torch")
    with registered() as (faulty, file):
        plant(Fault("epsilon", "", "stages.1.1.expand.norm", 1, "target.eps = 1e-3"), file)
        assert main(["--models", "asymmnet_small_x0_35", "--rungs", "1", "--backends", f"torch,{faulty}"]) == 1
    assert f"{faulty} first diverges from torch float64 at stages.1.1.expand.norm (64x64)" in capsys.readouterr().out


def test_mindspore_needs_another_backend_for_the_float64_reference(workers: dict[str, Worker]) -> None:
    if "mindspore" in workers:
        with pytest.raises(ReproError, match="no float64 reference available: add torch or paddle"):
            list(run_rungs("asymmnet_small", [1], {"mindspore": workers["mindspore"]}))


def test_a_missing_backend_is_reported(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
                                          require_backend: Callable[[str], None]) -> None:  # fmt: skip
    require_backend("torch")
    for name in ("paddle", "mindspore"):
        monkeypatch.setenv(f"REPRO_{name.upper()}_PYTHON", "/nowhere/python")
    assert main(["--models", "asymmnet_small", "--rungs", "0"]) == 0
    errors = capsys.readouterr().err
    assert "NOT COMPARED: backend paddle: cannot start /nowhere/python" in errors
    assert "NOT COMPARED: backend mindspore" in errors
