"""repro.parity.user_models.mapping: counterparts by order, shape and kind, and the doubts about them."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import pytest

from repro.parity.user_models.mapping import align_weights
from repro.parity.user_models.packing import pair_weights
from repro.parity.user_models.weight_entry import WeightEntry, order_by_execution
from repro.specs import Weight, WeightKind
from repro.weights.weight_pairs import Pair, convert, pair_errors


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


def test_a_layer_that_runs_elsewhere_is_found() -> None:
    left = [*layer("first", "w", shape=(8, 8)), *layer("second", "w"), *layer("third", "w", shape=(4,))]
    right = [*layer("x", "w", shape=(4,)), *layer("y", "w", shape=(8, 8)), *layer("z", "w")]
    counterparts = align_weights(left, right)
    assert names(left, right) == {"first.w": "y.w", "second.w": "z.w", "third.w": "x.w"}
    assert not any(counterpart.doubt for counterpart in counterparts.values())  # no other layer has its shape


def test_a_layer_of_a_frequent_shape_that_runs_elsewhere_is_doubted() -> None:
    left = [*layer("a", "w"), *layer("b", "w"), *layer("c", "w", shape=(4,))]
    right = [*layer("x", "w", shape=(4,)), *layer("y", "w", shape=(4,)), *layer("z", "w")]
    doubts = [counterpart.doubt for counterpart in align_weights(left, right).values() if counterpart.name]
    assert "runs at another place" in doubts


def test_branches_of_other_shapes_may_run_in_another_order() -> None:
    left = [entry for i in range(3) for entry in block(f"left{i}", ("point", 1), ("dense", 3))]
    right = [entry for i in range(3) for entry in block(f"stage{i + 1}", ("dense", 3), ("point", 1))]
    assert names(left, right) == {
        entry.name: entry.name.replace(f"left{i}", f"stage{i + 1}") for i in range(3)
        for entry in left if entry.name.startswith(f"left{i}")
    }  # fmt: skip


def test_a_more_similar_name_casts_doubt_on_the_order() -> None:
    counterparts = align_weights(
        [*layer("the.query", "w"), *layer("the.value", "w")], [*layer("value", "w"), *layer("query", "w")]
    )
    assert {counterpart.name for counterpart in counterparts.values()} == {"value.w", "query.w"}
    assert all(counterpart.doubt for counterpart in counterparts.values())


def test_equal_names_precede_the_order() -> None:
    left = [*layer("stem", "w"), *layer("body", "w"), *layer("shortcut", "w"), *layer("fc", "w")]
    right = [*layer("stem", "w"), *layer("shortcut", "w"), *layer("body", "w"), *layer("head", "w")]
    counterparts = align_weights(left, right)
    assert names(left, right) == {"stem.w": "stem.w", "body.w": "body.w", "shortcut.w": "shortcut.w", "fc.w": "head.w"}
    assert not any(counterpart.doubt for counterpart in counterparts.values())


def block(prefix: str, *kernels: tuple[str, int]) -> list[WeightEntry]:
    """Convolutions with these kernels, each with a normalisation of equal shape behind it."""
    return [
        entry
        for name, kernel in kernels
        for entry in (
            *layer(f"{prefix}{name}", "conv", shape=(8, 8, kernel, kernel)),
            *layer(f"{prefix}{name}_bn", "norm_scale", "norm_shift"),
        )
    ]


def test_a_convolution_and_its_normalisation_are_one_unit() -> None:
    left = block("u", ("a", 3), ("b", 3), ("identity", 1))
    right = block("v", ("down", 1), ("x", 3), ("y", 3))  # the shortcut runs first
    pairs = names(left, right)
    assert pairs["ua_bn.norm_scale"] == "vx_bn.norm_scale"
    assert pairs["ub_bn.norm_scale"] == "vy_bn.norm_scale"
    assert pairs["uidentity.conv"] == "vdown.conv"
    assert pairs["uidentity_bn.norm_shift"] == "vdown_bn.norm_shift"


def test_the_size_of_the_output_decides_among_equal_shapes() -> None:
    left = [replace(entry, output=(4, 4, 8)) for entry in layer("a", "w")]
    right = [replace(entry, output=(4, 4, 8) if entry.layer == "y" else (8, 8, 8))
             for entry in [*layer("x", "w"), *layer("y", "w")]]  # fmt: skip
    assert names(left, right) == {"a.w": "y.w"}


def with_output(entries: list[WeightEntry], *sides: int) -> list[WeightEntry]:
    return [replace(entry, output=sides) for entry in entries]


def test_the_size_of_the_output_decides_among_equally_many() -> None:
    """A shortcut has the shape of the first convolution, but a stride."""
    shortcut, first = with_output(layer("shortcut", "w"), 4, 4, 8), with_output(layer("first", "w"), 8, 8, 8)
    pairs = names([*shortcut, *first], [*first, *shortcut])
    assert pairs == {"shortcut.w": "shortcut.w", "first.w": "first.w"}
    left = [*with_output(layer("a", "w"), 8, 8, 8), *with_output(layer("b", "w"), 4, 4, 8)]
    right = [*with_output(layer("x", "w"), 4, 4, 8), *with_output(layer("y", "w"), 8, 8, 8)]
    assert names(left, right) == {"a.w": "y.w", "b.w": "x.w"}
    without_stride = [*with_output(layer("x", "w"), 16, 16, 8), *with_output(layer("y", "w"), 8, 8, 8)]
    assert names(left, without_stride) == {"a.w": "x.w", "b.w": "y.w"}


def pre_norm_blocks(prefix: str, *, owns_scales: bool) -> list[WeightEntry]:
    """Two blocks that normalise first, and a last normalisation. Layer scales are modules, or belong to the blocks."""
    entries = layer(f"{prefix}stem", "conv", "bias", shape=(8, 3))
    for block in (f"{prefix}block0", f"{prefix}block1"):
        first, second = layer(f"{block}.scale1", "other"), layer(f"{block}.scale2", "other")
        if owns_scales:
            entries += [WeightEntry(entry.name, entry.shape, entry.kind, 1, block) for entry in (*first, *second)]
            first, second = [], []
        entries += [*layer(f"{block}.norm1", "norm_scale", "norm_shift"), *first]
        entries += layer(f"{block}.norm2", "norm_scale", "norm_shift")
        entries += [*layer(f"{block}.mlp", "conv", "bias", shape=(8, 8)), *second]
    return [*entries, *layer(f"{prefix}norm", "norm_scale", "norm_shift")]


def test_normalisations_before_a_block_do_not_belong_to_the_layer_before_it() -> None:
    for owns_scales in (False, True):
        left, right = pre_norm_blocks("", owns_scales=owns_scales), pre_norm_blocks("net.", owns_scales=not owns_scales)
        assert names(left, right) == {entry.name: f"net.{entry.name}" for entry in left}
        assert not any(counterpart.doubt for counterpart in align_weights(left, right).values())


def test_only_a_missing_bias_has_no_counterpart() -> None:
    left, right = layer("fc", "linear", "bias"), layer("head", "linear")
    assert names(left, right) == {"fc.linear": "head.linear", "fc.bias": None}
    assert list(pair_errors(weights(left), weights(right), pair_weights(left, right))) == [
        "fc.bias (8,) bias has no counterpart"
    ]


def test_the_order_of_execution_precedes_that_of_registration() -> None:
    rows = [[f"{name}.w", [1], "conv", 1, name, True, []] for name in ("late", "unseen", "early")]
    entries = order_by_execution(rows, ["input of early", "early", "input of late", "late", "late (2)"])
    assert [(entry.layer, entry.ran) for entry in entries] == [("early", True), ("late", True), ("unseen", False)]


def attention(layers: str, outputs: int) -> list[WeightEntry]:
    return [
        WeightEntry(f"{name}.{leaf}", shape, cast(WeightKind, kind), 1, name)
        for name in layers.split()
        for leaf, shape, kind in (("weight", (outputs, 8), "linear"), ("bias", (outputs,), "bias"))
    ]


@pytest.mark.parametrize(
    ("layers", "order"),
    [
        ("a.q a.k a.v", "a.q a.k a.v"),
        ("a.to_v a.to_q a.to_k", "a.to_q a.to_k a.to_v"),
        ("a.value a.key a.query", "a.query a.key a.value"),
        ("wk wq wv", "wq wk wv"),
        ("a.q_proj a.v_proj a.k_proj", "a.q_proj a.k_proj a.v_proj"),
        ("a.value a.key", "a.key a.value"),
    ],
)
def test_parts_of_attention_are_joined_in_the_order_of_their_roles(layers: str, order: str) -> None:
    left = attention("x.qkv", 8 * len(layers.split())) + attention("x.proj", 8)
    right = attention(layers, 8) + attention("a.out", 8)
    pairs = pair_weights(left, right)
    assert pairs[0] == Pair(("x.qkv.weight",), tuple(f"{name}.weight" for name in order.split()))
    assert pairs[1] == Pair(("x.qkv.bias",), tuple(f"{name}.bias" for name in order.split()))
    assert pairs[2].right == ("a.out.weight",)
    assert list(pair_errors(weights(left), weights(right), pairs)) == []
    assert pair_weights(right, left)[0].reverse == pairs[0]


def test_parts_stay_apart_where_both_models_have_them() -> None:
    left, right = attention("a.q a.k a.v", 8), attention("b.query b.key b.value", 8)
    assert all(len(pair.left) == len(pair.right) == 1 for pair in pair_weights(left, right))


@pytest.mark.parametrize(
    ("weight", "other", "fits"),
    [
        (Weight((8, 4, 1, 1), "conv"), Weight((8, 4), "linear"), True),
        (Weight((8, 1, 1, 1), "conv"), Weight((8, 1), "linear"), True),
        (Weight((8, 1, 1, 1), "conv", 8), Weight((8, 1), "linear"), False),
        (Weight((8, 4, 1, 4), "conv"), Weight((8, 16), "linear"), False),
        (Weight((8, 4, 3, 3), "conv"), Weight((8, 36), "linear"), False),
        (Weight((8, 4, 1, 1), "conv"), Weight((4, 8), "linear"), False),
        (Weight((8, 1, 1), "other"), Weight((8,), "layer_scale"), True),
        (Weight((8,), "bias"), Weight((8,), "norm_shift"), False),
        (Weight((8, 4, 1, 3), "conv"), Weight((8, 4, 3), "conv"), True),
    ],
)
def test_weights_of_another_form_fit_if_their_numbers_have_one_order(weight: Weight, other: Weight, fits: bool) -> None:
    assert (list(pair_errors({"a": weight}, {"b": other}, [Pair(("a",), ("b",))])) == []) == fits
    if fits:
        array = np.arange(weight.size).reshape(weight.shape)
        there = convert({"a": array}, [Pair(("a",), ("b",))], {"b": other.shape})
        assert there["b"].shape == other.shape
        assert np.array_equal(convert(there, [Pair(("b",), ("a",))], {"a": weight.shape})["a"], array)
