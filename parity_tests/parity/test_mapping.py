"""Which weight of one model is which of another: by order, shape and kind, and what casts doubt on it."""

from __future__ import annotations

from repro.parity.mapping import Entry, align, complaints, in_running_order


def layer(name: str, *leaves: str, shape: tuple[int, ...] = (8,)) -> list[Entry]:
    return [Entry(f"{name}.{leaf}", shape, leaf, 1, name) for leaf in leaves]


def names(ours: list[Entry], theirs: list[Entry]) -> dict[str, str | None]:
    return {name: found.name for name, found in align(ours, theirs).items()}


def test_one_too_many_shifts_nothing() -> None:
    ours = [*layer("a", "w"), *layer("b", "w"), *layer("c", "w"), *layer("d", "w")]
    theirs = [entry for entry in ours if entry.layer != "b"]
    assert names(ours, theirs) == {"a.w": "a.w", "b.w": None, "c.w": "c.w", "d.w": "d.w"}
    assert names(theirs, ours) == {"a.w": "a.w", "c.w": "c.w", "d.w": "d.w"}
    assert not any(found.doubt for found in align(ours, theirs).values())  # the names leave none
    unlike = [*layer("x", "w"), *layer("y", "w"), *layer("z", "w")]
    doubts = [found.doubt for found in align(ours, unlike).values() if found.name]
    assert doubts == ["4 of that shape here and 3 there"] * 3


def test_what_runs_elsewhere_is_found_and_doubted() -> None:
    ours = [*layer("first", "w", shape=(8, 8)), *layer("second", "w"), *layer("third", "w", shape=(4,))]
    theirs = [*layer("x", "w", shape=(4,)), *layer("y", "w", shape=(8, 8)), *layer("z", "w")]
    found = align(ours, theirs)
    assert (found["third.w"].name, found["third.w"].doubt) == ("x.w", "runs at another place")
    assert (found["first.w"].name, found["first.w"].doubt) == ("y.w", "")


def test_a_nearer_name_casts_doubt_on_the_order() -> None:
    found = align([*layer("query", "w"), *layer("value", "w")], [*layer("value", "w"), *layer("query", "w")])
    assert {entry.name for entry in found.values()} == {"value.w", "query.w"}
    assert all(entry.doubt for entry in found.values())


def test_a_missing_bias_is_the_only_one_without_a_counterpart() -> None:
    ours, theirs = layer("fc", "linear", "bias"), layer("head", "linear")
    assert names(ours, theirs) == {"fc.linear": "head.linear", "fc.bias": None}
    assert list(complaints(ours, theirs, names(ours, theirs))) == ["fc.bias (8,) bias has no counterpart"]


def test_running_order_comes_before_registration() -> None:
    rows = [[f"{name}.w", [1], "conv", 1, name] for name in ("late", "unseen", "early")]
    entries = in_running_order(rows, ["enters early", "early", "enters late", "late", "late (2)"])
    assert [(entry.layer, entry.ran) for entry in entries] == [("early", True), ("late", True), ("unseen", False)]
