"""Planted faults are caught at the rung where they must be, and named; a sound backend is not accused.

One for each kind; `python -m parity_tests.faults` has them all (docs/faults.md).
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
    "stride", "squeezed to another width", "stride of a pool", "bias forgotten",
    "epsilon of a normalisation", "padding by reflection", "hard-sigmoid of slope 0.1667",
    "transposed square weight of a convolution", "copies on one side", "shortcut dropped", "one NaN",
    "off by a hundred-millionth in double precision", "part of the batch",
    "dropout scaled in evaluation instead of training", "padding not counted in a mean",
    "shuffled by the number of channels", "statistics updated in evaluation",
    "momentum of a normalisation", "biased variance", "dropout not scaled",
    "soft targets normalised", "the loss's gradient twice",
    "input detached", "gradient twice",
    "weight decay spares gamma and beta", "nesterov ignored", "Adam's epsilon inside the root",
    "one average not updated", "loss from behind the update",
)  # fmt: skip


@pytest.fixture(scope="module")
def planted(require_backend: Callable[[str], None]) -> Iterator[Garden]:
    require_backend("torch")
    with garden() as found:
        yield found


def test_the_list_is_what_it_says() -> None:
    assert len(FAULTS) == len(ALL_FAULTS) >= 110
    assert len({(fault.at, fault.code) for fault in FAULTS.values()}) == len(FAULTS)
    families = {find_spec(fault.model).family for fault in FAULTS.values()}
    assert families >= {"asymmnet", "mobilenet_v3", "shufflenet_v1", "shufflenet_v2", "densenet", "rdnet",
                        "efficientnet_v2", "resnet", "resnet_v2", "vgg"}  # fmt: skip
    assert {FAULTS[name].rung for name in CORE} == set(LADDER) == {fault.rung for fault in FAULTS.values()}


def in_order(name: str) -> tuple[bool, str, int]:
    """Those of a model one after the other: the sound worker remembers what it was asked of the last model alone.
    Training comes last, because torch is slower for all that it imports for its optimizers."""
    return FAULTS[name].rung > 2, FAULTS[name].model, FAULTS[name].rung


ORDERED = sorted(CORE, key=in_order)


@pytest.mark.parametrize("name", ORDERED)
def test_fault_is_caught_and_named(name: str, planted: Garden) -> None:
    fault = FAULTS[name]
    found = planted.records(fault, [fault.rung])
    assert found["torch"].verdict != "diverges", found["torch"]
    assert found["faulty_torch"].verdict == "diverges", found["faulty_torch"]
    assert fault.is_named_by(found["faulty_torch"]), found["faulty_torch"].sentence


def test_sound_backend_is_not_accused(planted: Garden) -> None:
    """Through all that the faults go through."""
    found = planted.records(Fault("none", "shufflenet_v1_g3_x0_25", "", 6, ""), LADDER)
    assert {name: (record.rung, record.verdict) for name, record in found.items()} == {
        "torch": (6, "rounding"), "faulty_torch": (6, "rounding")}  # fmt: skip


def test_a_fault_that_breaks_the_backend_is_not_called_named(planted: Garden) -> None:
    fault = Fault("broken", "shufflenet_v1_g3_x0_25", "stem.conv", 1, "compute(lambda x: 1 / 0)")
    found = planted.records(fault, [1])
    assert found["torch"].verdict != "diverges"
    assert "ZeroDivisionError" in found["faulty_torch"].reason
    assert not fault.is_named_by(found["faulty_torch"])


@pytest.mark.parametrize(
    ("where", "named"),
    [
        ("a.conv", True), ("a.conv (64x64)", True), ("a.conv, float64 (64x64)", True),
        ("a.conv (after a) (64x64)", True),
        ("a", False), ("a.conv.weight", False), ("a.conv2", False), ("b (after a.conv)", False), ("", False),
    ],
)  # fmt: skip
def test_what_counts_as_named(where: str, named: bool) -> None:
    record = Record("m", 1, "torch", "", "diverges", None, 0.0, where, "")
    assert Fault("f", "m", "a.conv", 1, "").is_named_by(record) is named
    assert Fault("f", "m", "", 1, "", "input of b | a.conv").is_named_by(record) is named


OTHERS = {
    "paddle": ("model.stages[1][0].expand.norm._epsilon = 0.002", "stages.1.0.expand.norm"),
    "mindspore": ("model.stages[1][0].expand.act = nn.Identity()", "stages.1.0.expand.act"),
}
WRAPPER = """
from backends import {backend} as sound
from backends.{backend} import set_dropout_source, export_weights, forward, load_weights, operators, to_float64, version
from {backend} import nn

def create_model(spec):
    model = sound.create_model(spec)
    {fault}
    return model
"""


@pytest.mark.parametrize("backend", OTHERS)
def test_fault_of_another_framework(backend: str, require_backend: Callable[[str], None]) -> None:
    require_backend("torch")
    require_backend(backend)
    code, place = OTHERS[backend]
    fault = Fault("another framework's", "asymmnet_small_x0_35", "", 1, "", place)
    with garden(backend, WRAPPER.format(backend=backend, fault=code)) as other:
        found = other.records(fault, [1])
    assert found["torch"].verdict != "diverges"
    record = found[f"faulty_{backend}"]
    assert record.verdict == "diverges"
    assert f"faulty_{backend} first diverges from torch float64 at {place}" in record.sentence
    assert fault.is_named_by(record)
