"""repro.parity.causes.operations: formulas of right and wrong values are found, and none is made up."""

from __future__ import annotations

import numpy as np
import pytest

from repro.parity.causes.elementwise import ELEMENTWISE
from repro.parity.causes.operations import explain_operations, find_formula

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((2, 8, 6, 6)), RNG.standard_normal((2, 8, 6, 6))
V = RNG.standard_normal((2, 8))
UP, WIDE = X.repeat(2, 2).repeat(2, 3), RNG.standard_normal((2, 8, 12, 12))
HALF = RNG.standard_normal((2, 4, 6, 6))
SHUFFLED = np.stack([X[:, :4], np.maximum(HALF, 0)], 2).reshape(X.shape)
Q, K, T = (RNG.standard_normal((2, 5, 8)) for _ in range(3))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    return np.exp(x) / np.exp(x).sum(axis, keepdims=True)


def attention(scale: float, axis: int) -> np.ndarray:
    q, k, v = (array.reshape(2, 5, 2, 4).transpose(0, 2, 1, 3) for array in (Q, K, T))
    return (softmax(scale * q @ k.swapaxes(-1, -2), axis) @ v).transpose(0, 2, 1, 3).reshape(2, 5, 8)


@pytest.mark.parametrize("pattern", [pattern for pattern in ELEMENTWISE if pattern != "{}"])
def test_every_elementwise_function_is_recognised(pattern: str) -> None:
    assert find_formula({"x": 2 * X}, ELEMENTWISE[pattern](2 * X)) == pattern.format("x")


FORMULAS = {
    "leaky_relu(x, 0.2)": np.where(X > 0, X, 0.2 * X),
    "0.5 * x": X / 2,
    "x + 0.25": X + 0.25,
    "2 * sigmoid(x)": 2 * sigmoid(X),
    "clip(x; from -0.25 to 0.5)": X.clip(-0.25, 0.5),
    "clip(x; to 0.3)": X.clip(max=0.3),
    "0.5 * mean(x; axes 2, 3)": X.mean((2, 3)) / 2,
    "softmax(x, axis 1)": softmax(X, 1),
    "x / (L2 norm along axis 1)": X / np.sqrt((X * X).sum(1, keepdims=True)),
    "mean(x; axes 2, 3)": X.mean((2, 3)),
    "relu(mean(x; axes 2, 3))": np.maximum(X.mean((2, 3)), 0),
    "flatten(x; from axis 1)": X.reshape(2, -1),
    "reshape(transpose(x, [0, 2, 3, 1]), [2, 288])": X.transpose(0, 2, 3, 1).reshape(2, -1),
    "transpose(x, [0, 1, 3, 2])": X.swapaxes(2, 3),
    "shuffle(x; 2 groups along axis 1)": X.reshape(2, 2, 4, 6, 6).swapaxes(1, 2).reshape(X.shape),
    "flip(x; axis 3)": X[..., ::-1],
    "first half of x along axis 1": X[:, :4],
    "every other of x, from 1, along axis 1": X[:, 1::2],
    "second half of x * sigmoid(first half of x)": X[:, 4:] * sigmoid(X[:, :4]),
    "pad(x; rows (1, 1), columns (1, 1), reflect)": np.pad(X, ((0, 0), (0, 0), (1, 1), (1, 1)), "reflect"),
    "max_pool(x; kernel 2, stride 2, padding 0)": X.reshape(2, 8, 3, 2, 3, 2).max((3, 5)),
    "resize(x; nearest)": X.repeat(2, 2).repeat(2, 3),
    "resize(x; nearest) / (L2 norm along axis 1)": UP / np.sqrt((UP * UP).sum(1, keepdims=True)),
    "x up to index 4 of axis 1": X[:, :5],
    "x from index 1 of axis 3": X[..., 1:],
    "max(x; axes 2, 3) * softmax(mean(x; axes 2, 3), axis 1)": X.max((2, 3)) * softmax(X.mean((2, 3)), 1),
    "x * sigmoid(mean(x; axes 2, 3))": X * sigmoid(X.mean((2, 3), keepdims=True)),
    "concatenate(mean(x; axes 2, 3), max(x; axes 2, 3); axis 1)": np.concatenate([X.mean((2, 3)), X.max((2, 3))], 1),
}


@pytest.mark.parametrize("formula", FORMULAS)
def test_formulas_of_one_value(formula: str) -> None:
    assert find_formula({"x": X}, FORMULAS[formula]) == formula


PAIRS = {
    "x + y": X + Y,
    "relu(x + y)": np.maximum(X + Y, 0),
    "relu(x) + y": np.maximum(X, 0) + Y,
    "relu(x + relu(y))": np.maximum(X + np.maximum(Y, 0), 0),
    "relu(x + 0.5 * y)": np.maximum(X + Y / 2, 0),
    "x + 2 * y": X + 2 * Y,
    "relu6(4 * x + 0.2 * y)": (4 * X + 0.2 * Y).clip(0, 6),
    "x + (a factor for each channel) * y": X + V[0][:, None, None] * Y,
    "relu(y)": np.maximum(Y, 0),
    "x * sigmoid(y)": X * sigmoid(Y),
    "x + x * sigmoid(y)": X + X * sigmoid(Y),
    "concatenate(y, relu(x); axis 1)": np.concatenate([Y, np.maximum(X, 0)], 1),
    "mean(concatenate(x, y; axis 1); axes 2, 3)": np.concatenate([X, Y], 1).mean((2, 3)),
    "mean(relu(x + y); axes 2, 3)": np.maximum(X + Y, 0).mean((2, 3)),
    "resize(x + silu(y); nearest)": (X + Y * sigmoid(Y)).repeat(2, 2).repeat(2, 3),
    "(x + y)[index 0 of axis 1]": (X + Y)[:, 0],
    "flatten(x * sigmoid(y); from axis 1)": (X * sigmoid(Y)).reshape(2, -1),
}


@pytest.mark.parametrize("formula", PAIRS)
def test_formulas_of_two_values(formula: str) -> None:
    assert find_formula({"x": X, "y": Y}, PAIRS[formula]) == formula


def test_a_half_is_joined_with_another_value_and_shuffled() -> None:
    text = "shuffle(concatenate(first half of x along axis 1, relu(y); axis 1); 2 groups along axis 1)"
    assert find_formula({"x": X, "y": HALF}, SHUFFLED) == text


def test_a_resized_value_is_joined_or_added() -> None:
    half, tripled = X[:, :, ::2, ::2], {"x": X, "y": Y, "z": WIDE}
    joined = np.concatenate([np.maximum(WIDE, 0), (X + np.tanh(Y)).repeat(2, 2).repeat(2, 3)], 1)
    assert find_formula(tripled, joined) == "concatenate(relu(z), resize(x + tanh(y); nearest); axis 1)"
    assert find_formula({"x": X, "y": half}, np.maximum(X, 0) + half.repeat(2, 2).repeat(2, 3)) == (
        "relu(x) + resize(y; nearest)"
    )
    assert find_formula({"x": X, "y": half}, X * sigmoid(half.repeat(2, 2).repeat(2, 3))) == (
        "x * sigmoid(resize(y; nearest))"
    )


def test_a_gate_per_channel_is_recognised() -> None:
    assert find_formula({"x": X, "v": V}, X * sigmoid(V)[:, :, None, None]) == "x * sigmoid(v)"
    assert find_formula({"x": X, "v": V[:, None]}, X * sigmoid(V)[:, :, None, None]) == "x * sigmoid(v)"
    assert find_formula({"x": X, "v": V}, X * softmax(V, 1)[:, :, None, None]) == "x * softmax(v, axis 1)"
    assert find_formula({"x": X}, X.max((2, 3))[:, None]) == "max(x; axes 2, 3)"


def test_a_resized_gate_of_one_channel_is_recognised() -> None:
    small, active = X[:, :1, ::2, ::2], np.maximum(X, 0) + (np.arange(8) == 0)[:, None, None]
    assert (active == 0).any()
    gated = active * sigmoid(small.repeat(2, 2).repeat(2, 3))
    assert find_formula({"x": active, "y": small}, gated) == "x * sigmoid(resize(y; nearest))"


def test_a_value_with_its_channels_last_is_added() -> None:
    sources, turned = {"x": X, "y": Y.transpose(0, 2, 3, 1)}, "transpose(y, [0, 3, 1, 2])"
    assert find_formula(sources, X + Y) == f"x + {turned}"
    assert find_formula(sources, X + Y / 2) == f"x + 0.5 * {turned}"
    assert find_formula(sources, X + V[0][:, None, None] * Y) == f"x + (a factor for each channel) * {turned}"
    assert find_formula(sources, X + Y.swapaxes(2, 3)) == "x + transpose(y, [0, 3, 2, 1])"


def test_a_value_that_is_pooled_to_its_own_size_is_recognised() -> None:
    rows = np.pad(np.maximum(X, 0), ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(rows, (3, 3), (2, 3))  # type: ignore[call-overload]
    pooled = "y + max_pool(relu(x); kernel 3, stride 1, padding 1)"
    assert find_formula({"x": X, "y": Y}, Y + windows.max((-2, -1))) == pooled
    assert find_formula({"z": HALF, "x": X, "y": Y}, np.concatenate([HALF, Y + windows.max((-2, -1))], 1)) == (
        f"concatenate(z, {pooled}; axis 1)"
    )


def test_attention_is_recognised_with_its_heads_scale_and_axis() -> None:
    sources = {"q": Q, "k": K, "v": T}
    assert find_formula(sources, attention(0.5, -1)) == "attention(q, k, v; 2 heads, scale 4^-0.5)"
    q, k, v = (array.reshape(2, 5, 2, 4).transpose(0, 2, 1, 3) for array in (Q, K, T))
    unscaled = ((q @ k.swapaxes(-1, -2)) @ v).transpose(0, 2, 1, 3).reshape(2, 5, 8)
    assert find_formula(sources, unscaled) == "attention(q, k, v; 2 heads, scale 1, no softmax)"
    text = "attention(q, k, v; 2 heads, scale 1, softmax along axis -2)"
    assert find_formula(sources, attention(1.0, -2)) == text


def test_attention_is_recognised_in_one_packed_value() -> None:
    result = attention(0.5, -1)
    packed = np.concatenate([Q, K, T], 2)
    assert find_formula({"x": packed}, result) == "attention(q, k, v of x; 2 heads, scale 4^-0.5)"
    exchanged = np.concatenate([K, Q, T], 2)
    assert find_formula({"x": exchanged}, result) == "attention(k, q, v of x; 2 heads, scale 4^-0.5)"
    by_heads = np.stack([array.reshape(2, 5, 2, 4) for array in (Q, K, T)], 3).reshape(2, 5, 24)
    text = "attention(q, k, v of x, packed as (2 heads, 3, channels); 2 heads, scale 4^-0.5)"
    assert find_formula({"x": by_heads}, result) == text
    q, k, v = (array.reshape(2, 5, 2, 4).transpose(0, 2, 1, 3) for array in (Q, K, T))
    masked = softmax(np.where(np.tri(5, dtype=bool), q @ k.swapaxes(-1, -2) / 2, -np.inf), -1) @ v
    text = "attention(q, k, v of x; 2 heads, scale 4^-0.5, later tokens masked)"
    assert find_formula({"x": packed}, masked.transpose(0, 2, 1, 3).reshape(2, 5, 8)) == text


def test_weights_that_belong_to_no_layer_are_part_of_a_formula() -> None:
    maps = RNG.standard_normal((2, 4, 2, 3))
    token, position, scale = RNG.standard_normal((1, 1, 4)), RNG.standard_normal((1, 7, 4)), RNG.standard_normal(8)
    tokens = np.concatenate([np.broadcast_to(token, (2, 1, 4)), maps.reshape(2, 4, 6).swapaxes(1, 2)], 1)
    weights = {"token": token, "position": position}
    joined = "concatenate(token, reshape(transpose(x, [0, 2, 3, 1]), [2, 6, 4]); axis 1)"
    assert find_formula({"x": maps}, tokens, weights) == joined
    assert find_formula({"x": maps}, tokens + position, weights) == f"{joined} + position"
    assert find_formula({"q": Q}, scale * sigmoid(Q), {"scale": scale}) == "scale * (sigmoid(q))"


def test_both_formulas_are_returned() -> None:
    sources = {"x": X}
    right, wrong = ELEMENTWISE["gelu({})"](X), ELEMENTWISE["gelu({}, tanh approximation)"](X)
    assert explain_operations(sources, sources, {}, right, wrong) == ("gelu(x)", "gelu(x, tanh approximation)")
    assert explain_operations(sources, sources, {}, right, RNG.standard_normal(X.shape)) == ("gelu(x)", "")
    scale = V[0][:, None, None]
    assert explain_operations({"x": X, "y": Y}, {"x": X, "y": Y}, {}, X + scale * Y, X + scale / 2 * Y) == (
        "x + (a factor for each channel) * y",
        "x + (another factor for each channel) * y",
    )
    unknown = RNG.standard_normal(X.shape)
    assert explain_operations(sources, sources, {}, unknown, np.maximum(unknown, 0)) == ("a value", "relu(that value)")


def test_sums_of_three_values_have_a_factor_for_each() -> None:
    sources = {"q": Q, "k": K, "v": T}
    assert find_formula(sources, 2 * Q + K - T) == "2 * q + k + -1 * v"
    assert find_formula(sources, Q + V[0] * K + T) == "q + (a factor for each channel) * k + v"
    assert find_formula({"q": Q}, V[0] * Q) == "(a factor for each channel) * q"


def test_noise_has_no_formula() -> None:
    assert not find_formula({"x": X, "y": Y}, RNG.standard_normal(X.shape))
    assert not find_formula({}, X)
    assert not find_formula({"x": X}, np.full_like(X, np.nan))
    assert explain_operations({"x": X}, {"x": X}, {}, Y, RNG.standard_normal(X.shape)) is None
    assert explain_operations({"x": X}, {"x": X}, {}, X, X * (1 + 1e-7)) is None
