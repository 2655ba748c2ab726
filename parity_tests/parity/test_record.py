"""repro.parity.record: sentences, and the record that stands for several."""

from __future__ import annotations

from dataclasses import replace

import pytest

from parity_tests.support.records import make_record
from repro.parity.console import verdict_mark
from repro.parity.record import worst_record
from repro.parity.summary import describe_divergences, summarise


@pytest.mark.parametrize(
    ("error_ratio", "sentence"),
    [
        (2.0, "vgg16, rung 1: torch first diverges from torch float64 at logits: a reason"),
        (
            0.5,
            "vgg16, rung 1: torch agrees with torch float64 within the tolerance, with the least margin at logits: "
            "a reason",
        ),
        (0.0, "vgg16, rung 1: torch is equal to torch float64 at logits: a reason"),
    ],
)
def test_sentences(error_ratio: float, sentence: str) -> None:
    assert make_record(error_ratio=error_ratio).sentence == sentence


def test_a_failure_is_worse_than_any_error() -> None:
    records = [make_record(error_ratio=ratio) for ratio in (0.2, 0.9, 0.0)]
    assert worst_record(records) is records[1]
    failure = replace(
        make_record(error_ratio=2.0), max_error=None, reference="", where="", reason="backend torch: it ended"
    )
    assert worst_record([records[1], failure, records[2]]) is failure
    assert failure.sentence == "vgg16, rung 1: backend torch: it ended"


def test_what_cannot_be_answered_is_worse_than_agreement_and_better_than_a_divergence() -> None:
    unanswerable = replace(make_record(error_ratio=0.9), verdict="unanswerable")
    agreeing, diverging = make_record(error_ratio=0.95), make_record(error_ratio=2.0)
    assert [record.agrees for record in (agreeing, unanswerable, diverging)] == [True, False, False]
    assert worst_record([agreeing, unanswerable]) is unanswerable
    assert worst_record([unanswerable, diverging]) is diverging
    assert verdict_mark(unanswerable) == "??"
    assert unanswerable.sentence == "vgg16, rung 1: torch cannot be compared with torch float64 at logits: a reason"
    assert summarise([agreeing, unanswerable], 1.0) == "2 comparisons, 0 diverge, 1 cannot be answered, in 1 s"
    assert describe_divergences([agreeing, unanswerable, unanswerable]) == f"{unanswerable.sentence}\n"
