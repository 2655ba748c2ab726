"""repro.parity.record: sentences, and the record that stands for several."""

from __future__ import annotations

from dataclasses import replace

import pytest

from parity_tests.support.records import make_record
from repro.parity.record import worst_record


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
