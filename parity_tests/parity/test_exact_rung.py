"""Rung 8, exact: repro.parity.exact_rung, with repro.workers.whole_number_feed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from parity_tests.faults.fault import Fault
from parity_tests.faults.garden import Garden, garden
from parity_tests.faults.smallest import SIZED, sized_fault
from parity_tests.support.records import make_record
from repro.errors import ReproError
from repro.parity import exact_rung
from repro.parity.__main__ import main
from repro.parity.cache import RecordCache
from repro.parity.exact_rung import EXACT_RUNG
from repro.parity.ladder import run_rungs
from repro.parity.record import Record
from repro.weights.whole_numbers import (
    whole_inputs,
)
from repro.workers.client import Worker
from repro.workers.whole_number_feed import WholeNumberFeed

SMALL = "mobilenet_v2_x0_35"


def test_a_feed_describes_what_enters_and_leaves() -> None:
    feed = WholeNumberFeed(3, selected=["a (2)"])
    fed = feed("a", np.zeros((2, 3)))
    assert np.array_equal(fed, whole_inputs("a", (2, 3), 3))
    assert fed.dtype == np.float64
    feed("a", np.array([[1.5, -2.25]]))  # runs again
    feed("b", fed)  # passed on
    feed("c", fed.reshape(3, 2))
    feed("d", np.array([1 / 3]))
    assert [(r.name, r.largest, r.fraction, r.is_computed) for r in feed.results] == [
        ("a", 0.0, 0, True), ("a (2)", 2.25, 2, True), ("b", np.abs(fed).max(), 3, False),
        ("c", np.abs(fed).max(), 3, True), ("d", 1 / 3, None, True),
    ]  # fmt: skip
    assert list(feed.arrays) == ["a (2)"]
    assert (WholeNumberFeed(0, sums=True)("a", np.zeros(100)) >= 0).all()


def test_digests_ignore_the_sign_of_zero_and_the_precision_only() -> None:
    def digest(array: np.ndarray) -> str:
        feed = WholeNumberFeed(0)
        feed("a", array)
        return feed.results[0].digest

    zeros = np.zeros((2, 2), np.float32)
    assert digest(zeros) == digest(-zeros) == digest(zeros.astype(np.float64))
    assert len({digest(a) for a in (zeros, zeros.ravel(), np.nextafter(zeros, np.float32(1)), zeros + 1)}) == 4


@pytest.mark.parametrize(
    ("fraction", "largest", "largest_sum", "exact"),
    [(0, 1.0, 2.0**24 - 1, True), (0, 1.0, 2.0**24, False), (0, 2.0**24, 1.0, False), (3, 1.0, 2.0**21 - 1, True),
     (3, 1.0, 2.0**21, False), (None, 1.0, 1.0, False)],
)  # fmt: skip
def test_a_result_is_proved_by_its_fraction_and_its_largest_sum(
    fraction: int | None, largest: float, largest_sum: float, exact: bool
) -> None:
    result = exact_rung.ModuleResult("a", "", largest, fraction)
    assert exact_rung._is_exact(result, largest_sum) is exact


def test_no_reference_without_float64(workers: dict[str, Worker], require_backend: Callable[[str], None]) -> None:
    require_backend("mindspore")
    with pytest.raises(ReproError, match="no float64 reference available"):
        list(run_rungs("shufflenet_v1_g1_x0_25", [EXACT_RUNG], {"mindspore": workers["mindspore"]}))


@pytest.mark.slow
def test_unproved_results_are_named_with_their_types(
    judged_workers: dict[str, Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact_rung, "LARGE_MODEL_PARAMS", 1)  # one framework at a time
    records = list(run_rungs("resnet110_cifar_exclusive_gating", [EXACT_RUNG], judged_workers))
    assert [(record.backend, record.verdict) for record in records] == [(name, "equal") for name in judged_workers]
    assert len(records[0].unproved) == 52
    assert records[0].unproved[0] == "stages.0.0.addition (Addition)"
    proved = len(records[0].profile)
    assert records[0].reason == f"bit-identical; {proved} of {proved + 52} results are proved"


@pytest.mark.slow
def test_the_command_takes_names_and_prints_the_share(
    judged_workers: dict[str, Worker], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, page = tmp_path / "out.json", tmp_path / "out.html"
    flags = ["--models", "shufflenet_v1_g1_x0_25", "--backends", next(iter(judged_workers)), "--json", str(path)]
    assert main([*flags, "--rungs", "exact,structure", "--html", str(page)]) == 0
    output = capsys.readouterr().out
    assert "0 structure|8 exact" in output
    assert "exact: shufflenet_v1       138 of     138 results proved (100 %)\n" in output
    assert [record["rung"] for record in json.loads(path.read_text())] == [0, 8]


def test_an_unknown_rung_is_refused() -> None:
    with pytest.raises(ReproError, match=r"'exakt'.*exact"):
        main(["--rungs", "exakt"])


def test_unproved_results_are_cached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("repro.parity.cache.cache_folder", lambda: tmp_path)
    record = make_record(error_ratio=0.0)
    record = Record(**vars(record) | {"unproved": ("a (SiLU)",)})
    cache = RecordCache({"torch": "1"})
    cache.store([record], 0)
    assert cache.load("vgg16", 1, 0) == [record]
    (file,) = tmp_path.iterdir()
    file.write_text(file.read_text().replace('["a (SiLU)"]', "[1]"))
    assert cache.load("vgg16", 1, 0) == []


# Planted changes

NATIVE = "F.conv2d(x, target.weight, None, 1, 1)"
FUSED, FUSED_CONV = "efficientnet_v2_b0", "stages.0.0.project.conv"


def in_float32(expression: str) -> str:
    """The code of a convolution that float64 does not use."""
    return f"replace_forward(lambda x: {expression} if x.dtype == torch.float32 else {NATIVE})"


# They change float32 only, as a kernel of a GPU would, and stay within the tolerance of rounding on rung 1
MISSED_BY_TOLERANCES = {
    "Winograd, tiles of 2x2": (FUSED, FUSED_CONV, in_float32("fast_paths.winograd(x, target.weight, 2)")),
    "Winograd, tiles of 4x4": (FUSED, FUSED_CONV, in_float32("fast_paths.winograd(x, target.weight, 4)")),
}  # fmt: skip
SIZES = {  # 2 ** -n
    "one weight of a 1x1 convolution": 20,
    "one weight of a depthwise convolution": 20,
    "one weight of the classifier": 12,
    "the bias of one class": 14,
    "all outputs of a convolution": 23,
    "one corner of a convolution's output": 20,
    "padding with s instead of 0": 20,
    "slope s of ReLU6 below 0": 20,
    "scale of a normalisation": 20,
    "epsilon of a normalisation, 1e-5 + s": 20,
    "shortcut multiplied by 1 + s": 22,
    "mean of 3x3 multiplied by 1 + s": 22,
}


@pytest.fixture(scope="module")
def planted(require_backend: Callable[[str], None]) -> Iterator[Garden]:
    """A sound and a faulty PyTorch worker."""
    require_backend("torch")
    with garden() as workers:
        yield workers


def planted_changes() -> dict[str, Fault]:
    """The changes by name, those of the same model one after the other."""
    changes = {name: Fault(name, *rest[:2], EXACT_RUNG, rest[2]) for name, rest in MISSED_BY_TOLERANCES.items()}
    for row in SIZED:
        changes[row[0]] = sized_fault(*row, SIZES[row[0]], everywhere=False)
    return dict(sorted(changes.items(), key=lambda item: item[1].model))


CHANGES = planted_changes()


@pytest.mark.slow
@pytest.mark.parametrize("name", CHANGES)
def test_a_change_within_the_tolerance_of_rounding_is_seen_and_named(name: str, planted: Garden) -> None:
    fault = CHANGES[name]
    assert not planted.records(fault, [1])["faulty_torch"].diverges
    records = planted.records(fault, [EXACT_RUNG])
    assert records["torch"].verdict == "equal"
    record = records["faulty_torch"]
    assert record.diverges
    place = fault.target.removesuffix(".weight").removesuffix(".bias")
    assert record.where == place or record.where.startswith(f"{place} ("), record.sentence
    assert "where the tolerance is 0" in record.reason
    assert "by themselves" not in record.reason  # whatever follows is fed with its own inputs, and right


def test_another_order_of_sums_is_no_change(planted: Garden) -> None:
    fault = Fault("order", SMALL, "stages.1.1.project.conv", EXACT_RUNG,
                  "replace_forward(lambda x: F.conv2d(x.flip(1)[:, ::2], target.weight.flip(1)[:, ::2])"
                  " + F.conv2d(x.flip(1)[:, 1::2], target.weight.flip(1)[:, 1::2]))")  # fmt: skip
    assert planted.records(fault, [EXACT_RUNG])["faulty_torch"].verdict == "equal"


def test_tf32_is_seen(planted: Garden) -> None:
    code = in_float32("F.conv2d(fast_paths.tf32(x), fast_paths.tf32(target.weight), None, 1, 1)")
    record = planted.records(Fault("TF32", FUSED, FUSED_CONV, EXACT_RUNG, code), [EXACT_RUNG])["faulty_torch"]
    assert record.where == FUSED_CONV


def test_every_culprit_is_listed(planted: Garden) -> None:
    code = ("model.stages[1][1].expand.act.register_forward_hook(lambda m, x, y: 2 * y)\n"
            "model.stages[2][1].register_forward_hook(lambda m, x, y: y + 1)\n"
            "model.stages[2][2].project.norm.eps = 2e-5")  # fmt: skip
    record = planted.records(Fault("three", SMALL, "", EXACT_RUNG, code), [EXACT_RUNG])["faulty_torch"]
    assert record.where == "stages.1.1.expand.act"
    assert "every element is 2 times the expected value" in record.reason
    assert record.reason.endswith("; 2 more with errors of their own: stages.2.1, stages.2.2.project.norm")
    assert [where for where, error, _ in record.profile if error is None] == [
        "stages.1.1.expand.act", "stages.2.1", "stages.2.2.project.norm"]  # fmt: skip


def test_a_missing_module_diverges(planted: Garden) -> None:
    code = "function = target.forward\ndel owner._modules['act']\nowner.act = function"
    record = planted.records(Fault("none", SMALL, "stem.act", EXACT_RUNG, code), [EXACT_RUNG])["faulty_torch"]
    assert record.where == "input of stem.act (after stem.norm)"
    assert record.reason.startswith("it is missing")


@pytest.mark.parametrize("tile", [2, 4])
def test_the_planted_winograd_is_a_convolution(tile: int, run_program: Callable[..., float]) -> None:
    assert run_program("torch", "fast_paths:disagreement", tile) < 1e-12


CHANGES_OF_OTHER_BACKENDS = {
    # backend: code; an activation that is off by a bit
    "paddle": "act = model.stages[1][1].expand.act\nright = act.forward\n"
              "act.forward = lambda x, right=right: right(x) * (1 + 2.0 ** -23)",
    "mindspore": "act = model.stages[1][1].expand.act\nright = act.construct\n"
                 "act.construct = lambda x, right=right: right(x) * (1 + 2.0 ** -23)",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("backend", CHANGES_OF_OTHER_BACKENDS)
def test_a_bit_of_another_backend_is_seen(backend: str, require_backend: Callable[[str], None]) -> None:
    require_backend("torch")
    require_backend(backend)
    fault = Fault("a bit", SMALL, "", EXACT_RUNG, CHANGES_OF_OTHER_BACKENDS[backend])
    with garden(backend) as workers:
        records = workers.records(fault, [EXACT_RUNG])
    assert records["torch"].verdict == "equal"
    record = records[f"faulty_{backend}"]
    assert record.where == "stages.1.1.expand.act"
    assert "by themselves" not in record.reason
