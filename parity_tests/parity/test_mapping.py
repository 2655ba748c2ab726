"""repro.parity.mapping: counterparts by order, shape and kind, and the doubts about them."""

from __future__ import annotations

from typing import cast

from repro.parity.mapping import WeightEntry, align_weights, order_by_execution
from repro.specs import Weight, WeightKind
from repro.weights.mapping_file import mapping_errors


def layer(name: str, *leaves: str, shape: tuple[int, ...] = (8,)) -> list[WeightEntry]:
    return [WeightEntry(f"{name}.{leaf}", shape, cast(WeightKind, leaf), 1, name) for leaf in leaves]


def weights(entries: list[WeightEntry]) -> dict[str, Weight]:
    return {entry.name: entry.weight for entry in entries}


def names(left: list[WeightEntry], right: list[WeightEntry]) -> dict[str, str | None]:
    return {name: counterpart.name for name, counterpart in align_weights(left, right).items()}


def test_an_additional_layer_does_not_shift_the_others() -> None:
    left = [*layer("a", "w"), *layer("b", "w"), *layer("c", "w"), *layer("d", "w")]
    right = [entry for entry in left if entry.layer != "b"]
    assert names(left, right) == {"a.w": "a.w", "b.w": None, "c.w": "c.w", "d.w": "d.w"}
    assert names(right, left) == {"a.w": "a.w", "c.w": "c.w", "d.w": "d.w"}
    assert not any(counterpart.doubt for counterpart in align_weights(left, right).values())  # names are the same
    renamed = [*layer("x", "w"), *layer("y", "w"), *layer("z", "w")]
    doubts = [counterpart.doubt for counterpart in align_weights(left, renamed).values() if counterpart.name]
    assert doubts == ["4 of this shape on one side and 3 on the other"] * 3


def test_a_layer_that_runs_elsewhere_is_found_and_doubted() -> None:
    left = [*layer("first", "w", shape=(8, 8)), *layer("second", "w"), *layer("third", "w", shape=(4,))]
    right = [*layer("x", "w", shape=(4,)), *layer("y", "w", shape=(8, 8)), *layer("z", "w")]
    counterparts = align_weights(left, right)
    assert (counterparts["third.w"].name, counterparts["third.w"].doubt) == ("x.w", "runs at another place")
    assert (counterparts["first.w"].name, counterparts["first.w"].doubt) == ("y.w", "")


def test_a_more_similar_name_casts_doubt_on_the_order() -> None:
    counterparts = align_weights(
        [*layer("query", "w"), *layer("value", "w")], [*layer("value", "w"), *layer("query", "w")]
    )
    assert {counterpart.name for counterpart in counterparts.values()} == {"value.w", "query.w"}
    assert all(counterpart.doubt for counterpart in counterparts.values())


def test_only_a_missing_bias_has_no_counterpart() -> None:
    left, right = layer("fc", "linear", "bias"), layer("head", "linear")
    assert names(left, right) == {"fc.linear": "head.linear", "fc.bias": None}
    assert list(mapping_errors(weights(left), weights(right), names(left, right))) == [
        "fc.bias (8,) bias has no counterpart"
    ]


def test_the_order_of_execution_precedes_that_of_registration() -> None:
    rows = [[f"{name}.w", [1], "conv", 1, name, True, []] for name in ("late", "unseen", "early")]
    entries = order_by_execution(rows, ["input of early", "early", "input of late", "late", "late (2)"])
    assert [(entry.layer, entry.ran) for entry in entries] == [("early", True), ("late", True), ("unseen", False)]
