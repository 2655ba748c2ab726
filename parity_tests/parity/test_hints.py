"""What is said of a wrong array: each explanation where it holds, and none where it nearly does."""

from __future__ import annotations

import numpy as np
import pytest

from repro.parity.hints import hint
from repro.parity.judge import place
from repro.weights.truncate import SAMPLE_SIZE, sample

MAPS = np.random.default_rng(0).normal(0, 2, (2, 6, 5, 5)).astype("float32")
SQUARE = np.random.default_rng(1).normal(0, 2, (6, 6, 3, 3)).astype("float32")
MATRIX = np.random.default_rng(2).normal(0, 2, (4, 6)).astype("float32")
BEFORE = np.random.default_rng(3).uniform(0.5, 1.5, 8).astype("float32")
AFTER = 0.9 * BEFORE + 0.1 * np.random.default_rng(4).uniform(1, 3, 8).astype("float32")
ROUNDING = 1e-6


def changed(array: np.ndarray, index: object, value: float) -> np.ndarray:
    array = array.copy()
    array[index] = value
    return array


def moved(array: np.ndarray) -> np.ndarray:
    return np.pad(array, ((0, 0), (0, 0), (1, 0), (0, 0)))[:, :, :-1]


FACTORS = np.linspace(0.9, 0.99, 6, dtype="float32").reshape(6, 1, 1)
POSITIVE = np.maximum(MAPS, 0)
BORDERED = MAPS.copy()
BORDERED[:, :, 0] += np.random.default_rng(5).normal(0, 1, BORDERED[:, :, 0].shape)
BFLOAT16 = (MAPS.view(np.uint32) & 0xFFFF0000).view(np.float32)

EXPLAINED = {
    # found, expected, what is said
    "zeros": (0 * MAPS, MAPS, "all of it is 0"),
    "sign": (-MAPS, MAPS, "the sign is the other one"),
    "percent": (0.968 * MAPS, MAPS, "3.2 % too low throughout"),
    "mean over classes": (MAPS / 1000, MAPS, "0.001 times what it should be throughout"),
    "factor": (2 * MAPS, MAPS, "2 times what it should be throughout"),
    "sum over 16": (np.array(170.0), np.array(10.625), "16 times what it should be throughout"),
    "shift": (MAPS + 0.25, MAPS, "0.25 too high throughout"),
    "axes": (SQUARE.swapaxes(2, 3), SQUARE, "the last two axes are exchanged"),
    "square weight": (SQUARE.swapaxes(0, 1), SQUARE, "the first two axes are exchanged"),
    "shape": (MATRIX.T, MATRIX, "transposed?"),
    "mirrored": (MAPS[:, :, :, ::-1], MAPS, "its columns are in reverse order"),
    "flipped": (MAPS[:, :, ::-1, ::-1], MAPS, "its rows and columns are in reverse order"),
    "a pixel": (moved(MAPS), MAPS, "moved by a row"),
    "batch": (MAPS[::-1], MAPS, "in another order along its first axis"),
    "channels": (MAPS[:, [1, 0, 2, 3, 5, 4]], MAPS, "in another order along its second axis"),
    "one image": (np.repeat(MAPS[:1], 2, 0), MAPS, "all along its first axis are the same"),
    "shuffled": (np.random.default_rng(6).permutation(MATRIX.ravel()).reshape(4, 6), MATRIX,
                 "the same numbers in another order"),
    "ReLU": (POSITIVE, MAPS, "0 where it should be negative"),
    "no ReLU": (MAPS, POSITIVE, "negative where it should be 0"),
    "cap": (np.minimum(MAPS, 2), MAPS, "cut off at 2"),
    "no cap": (MAPS, np.minimum(MAPS, 2), "not cut off at 2"),
    "float16": (MAPS.astype("float16").astype("float32"), MAPS, "its numbers are those of float16"),
    "bfloat16": (BFLOAT16, MAPS, "its numbers are those of bfloat16"),
    "factors": (MAPS * FACTORS, MAPS, "each channel has a factor of its own, 0.9 to 0.99"),
    "shifts": (MAPS + FACTORS, MAPS, "each channel is shifted by a number of its own"),
    "normalisation": (
        MAPS * FACTORS + FACTORS[::-1], MAPS,
        "each channel has a factor and a shift of its own; another epsilon, gamma, beta, mean or variance?"),
    "border": (BORDERED, MAPS, "at the border alone; another padding?"),
    "channel": (changed(MAPS, (0, 3, 1, 1), 9), MAPS, "in channel 3 alone"),
}  # fmt: skip

UNEXPLAINED = {
    "not quite zeros": (1e-3 * np.random.default_rng(7).normal(0, 1, MAPS.shape), MAPS),
    "one of another sign": (changed(-MAPS, (0, 0, 0, 0), MAPS[0, 0, 0, 0]), MAPS),
    "no whole number of times": (np.array(17.3), np.array(10.0)),
    "a factor and noise": (2 * MAPS + np.random.default_rng(8).normal(0, 0.5, MAPS.shape), MAPS),
    "other numbers": (np.random.default_rng(9).normal(0, 2, MAPS.shape), MAPS),
    "other positive numbers": (np.abs(np.random.default_rng(9).normal(0, 2, MAPS.shape)), MAPS),
    "another shape": (MAPS[:1], MAPS),
    "a transposed shape of other numbers": (MATRIX.T + 1, MATRIX),
    "not a number": (changed(MAPS, (0, 0, 0, 0), np.nan), MAPS),
    "an error that is hardly one": (MAPS * (1 + 3e-7), MAPS),
    "in every other channel": (
        MAPS + np.random.default_rng(8).normal(0, 1, MAPS.shape) * np.resize([1, 0, 1], 6).reshape(6, 1, 1), MAPS),
}  # fmt: skip


@pytest.mark.parametrize("case", EXPLAINED)
def test_explained(case: str) -> None:
    found, expected, said = EXPLAINED[case]
    assert hint(np.asarray(found, "float32"), expected, ROUNDING) == said


@pytest.mark.parametrize("case", UNEXPLAINED)
def test_no_explanation_rather_than_a_wrong_one(case: str) -> None:
    found, expected = UNEXPLAINED[case]
    assert hint(np.asarray(found, "float32"), expected, ROUNDING) == ""


BIASED = 0.9 * BEFORE + 0.968 * (AFTER - 0.9 * BEFORE)


@pytest.mark.parametrize(
    ("found", "statistic", "said"),
    [
        (BEFORE, "running_mean", "it did not change"),
        (BEFORE + 2 * (AFTER - BEFORE), "running_mean", "it moved 2 times as far; another momentum?"),
        (BEFORE + 2 * (AFTER - BEFORE), "", "it moved 2 times as far; another rate or momentum?"),
        (BIASED, "running_var", "what was measured is 3.2 % too low; biased variance?"),
        (BIASED, "running_mean", "what was measured is 3.2 % too low"),
        (AFTER - 0.01 * BEFORE, "", "off in proportion to the weight itself; weight decay?"),
        (changed(AFTER, 5, 0), "running_var", "in channel 5 alone"),
        (AFTER + np.random.default_rng(7).normal(0, 0.1, 8), "running_var", ""),
        (changed(BEFORE, 5, 0), "running_mean", ""),
    ],
)
def test_trained(found: np.ndarray, statistic: str, said: str) -> None:
    assert hint(found.astype("float32"), AFTER, ROUNDING, BEFORE, 0.1, statistic) == said


def test_part_of_a_weight_has_no_channels() -> None:
    wanted = np.random.default_rng(0).normal(0, 1, SAMPLE_SIZE)
    assert hint(changed(wanted, 5, 9), wanted, ROUNDING) == ""
    assert hint(changed(wanted[1:], 5, 9), wanted[1:], ROUNDING) == "in channel 5 alone"


def test_some_of_a_large_weight() -> None:
    """Workers hand over no more."""
    before = np.random.default_rng(0).normal(0, 1, (10, 10))
    kept = sample(before, 8)
    assert kept.size == 8
    assert set(kept) <= set(before.reshape(-1))
    wanted = kept + np.random.default_rng(1).normal(0, 1, 8)
    assert hint(kept, wanted, ROUNDING, before) == "it did not change"
    assert hint(wanted - 0.01 * kept, wanted, ROUNDING, before).startswith("off in proportion to the weight itself")


def test_place() -> None:
    names = ["enters a", "a.conv", "a.norm", "a.norm.running_mean", "a", "enters b", "b"]
    assert place(names, 1) == "a.conv"
    assert place(names, 4) == "a (after a.norm)"
    assert place(names, 5) == "enters b (after a)"
    assert place(names, 6) == "b"
    assert place(["gradient of b", "gradient of a"], 1) == "gradient of a (after that of b)"
    assert place(["gradient of b", "gradient of a"], 0) == "gradient of b"
