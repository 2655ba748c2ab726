"""The ladder catches planted faults on the right rung and names them; it does not accuse a sound backend.

CORE has a fault of each kind; `python -m parity_tests.faults` plants all of them (docs/faults.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from parity_tests.faults.collection import ALL_FAULTS, LADDER
from parity_tests.faults.fault import Fault
from parity_tests.faults.garden import Garden, garden
from repro.parity.record import Record
from repro.specs import find_spec

FAULTS = {fault.name: fault for fault in ALL_FAULTS}
CORE = (
    "stride", "squeeze to another width", "stride of a pool", "bias forgotten",
    "epsilon of a normalisation", "reflecting padding", "hard-sigmoid with slope 0.1667",
    "transposed square weight of a convolution", "copied channels on one side", "shortcut dropped", "one NaN",
    "relative error of 1e-8 only in float64", "only the first image of the batch",
    "dropout scaled in evaluation instead of training", "padding not counted in an average pool",
    "wrong number of groups in a shuffle", "statistics updated in evaluation",
    "momentum of a normalisation", "biased variance", "dropout not scaled",
    "soft targets normalised", "gradient of the loss doubled",
    "input detached", "gradient doubled",
    "weight decay spares gamma and beta", "Nesterov momentum ignored", "Adam's epsilon inside the square root",
    "one EMA not updated", "loss after the update",
)  # fmt: skip


@pytest.fixture(scope="module")
def planted(require_backend: Callable[[str], None]) -> Iterator[Garden]:
    """A sound and a faulty PyTorch worker."""
    require_backend("torch")
    with garden() as workers:
        yield workers


def test_the_list_of_faults_is_complete_and_without_repetitions() -> None:
    assert len(FAULTS) == len(ALL_FAULTS) >= 110
    assert len({(fault.target, fault.code) for fault in FAULTS.values()}) == len(FAULTS)
    families = {find_spec(fault.model).family for fault in FAULTS.values()}
    assert families >= {"asymmnet", "mobilenet_v3", "shufflenet_v1", "shufflenet_v2", "densenet", "rdnet",
                        "efficientnet_v2", "resnet", "resnet_v2", "vgg"}  # fmt: skip
    assert {FAULTS[name].rung for name in CORE} == set(LADDER) == {fault.rung for fault in FAULTS.values()}


def sort_key(name: str) -> tuple[bool, str, int]:
    """Sort by model, since the sound worker remembers only its answers about the last model.

    Training comes last, because torch is slower after it has imported its optimizers.
    """
    return FAULTS[name].rung > 2, FAULTS[name].model, FAULTS[name].rung


ORDERED = sorted(CORE, key=sort_key)
QUICK = {FAULTS[name].rung: name for name in reversed(ORDERED)}.values()  # the first of each rung


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in ORDERED]
)
def test_fault_is_caught_and_named(name: str, planted: Garden) -> None:
    fault = FAULTS[name]
    records = planted.records(fault, [fault.rung])
    assert not records["torch"].diverges, records["torch"]
    assert records["faulty_torch"].diverges, records["faulty_torch"]
    assert fault.is_named_by(records["faulty_torch"]), records["faulty_torch"].sentence


def test_sound_backend_is_not_accused(planted: Garden) -> None:
    """It passes all rungs that faults go through."""
    records = planted.records(Fault("none", "shufflenet_v1_g3_x0_25", "", 6, ""), LADDER)
    assert {name: (record.rung, record.verdict) for name, record in records.items()} == {
        "torch": (6, "rounding"), "faulty_torch": (6, "rounding")}  # fmt: skip


def test_a_fault_that_breaks_the_backend_does_not_count_as_named(planted: Garden) -> None:
    fault = Fault("broken", "shufflenet_v1_g3_x0_25", "stem.conv", 1, "replace_forward(lambda x: 1 / 0)")
    records = planted.records(fault, [1])
    assert not records["torch"].diverges
    assert "ZeroDivisionError" in records["faulty_torch"].reason
    assert not fault.is_named_by(records["faulty_torch"])


@pytest.mark.parametrize(
    ("where", "named"),
    [
        ("a.conv", True), ("a.conv (64x64)", True), ("a.conv, float64 (64x64)", True),
        ("a.conv (after a) (64x64)", True),
        ("a", False), ("a.conv.weight", False), ("a.conv2", False), ("b (after a.conv)", False), ("", False),
    ],
)  # fmt: skip
def test_places_that_count_as_named(where: str, named: bool) -> None:
    record = Record("m", 1, "torch", "", "diverges", None, 0.0, where, "")
    assert Fault("f", "m", "a.conv", 1, "").is_named_by(record) is named
    assert Fault("f", "m", "", 1, "", "input of b | a.conv").is_named_by(record) is named


FAULTS_OF_OTHER_BACKENDS = {
    # backend: code, place
    "paddle": ("model.stages[1][0].expand.norm._epsilon = 0.002", "stages.1.0.expand.norm"),
    "mindspore": ("model.stages[1][0].expand.act = nn.Identity()", "stages.1.0.expand.act"),
}


@pytest.mark.slow
@pytest.mark.parametrize("backend", FAULTS_OF_OTHER_BACKENDS)
def test_fault_of_another_backend(backend: str, require_backend: Callable[[str], None]) -> None:
    require_backend("torch")
    require_backend(backend)
    code, place = FAULTS_OF_OTHER_BACKENDS[backend]
    fault = Fault("of another backend", "asymmnet_small_x0_35", "", 1, code, place)
    with garden(backend) as workers:
        records = workers.records(fault, [1])
    assert not records["torch"].diverges
    record = records[f"faulty_{backend}"]
    assert record.diverges
    assert f"faulty_{backend} first diverges from torch float64 at {place}" in record.sentence
    assert fault.is_named_by(record)
