"""repro.parity.causes.hints: each explanation is given where it holds, and not where it nearly holds."""

from __future__ import annotations

import numpy as np
import pytest

from repro.parity.causes.hints import explain_error
from repro.weights.truncate import SAMPLE_SIZE, sample

MAPS = np.random.default_rng(0).normal(0, 2, (2, 6, 5, 5)).astype("float32")
SQUARE = np.random.default_rng(1).normal(0, 2, (6, 6, 3, 3)).astype("float32")
MATRIX = np.random.default_rng(2).normal(0, 2, (4, 6)).astype("float32")
BEFORE = np.random.default_rng(3).uniform(0.5, 1.5, 8).astype("float32")
AFTER = 0.9 * BEFORE + 0.1 * np.random.default_rng(4).uniform(1, 3, 8).astype("float32")
TOLERANCE = 1e-6


def changed(array: np.ndarray, index: object, value: float) -> np.ndarray:
    array = array.copy()
    array[index] = value
    return array


def shifted_by_one_row(array: np.ndarray) -> np.ndarray:
    return np.pad(array, ((0, 0), (0, 0), (1, 0), (0, 0)))[:, :, :-1]


FACTORS = np.linspace(0.9, 0.99, 6, dtype="float32").reshape(6, 1, 1)
POSITIVE = np.maximum(MAPS, 0)
WRONG_BORDER = MAPS.copy()
WRONG_BORDER[:, :, 0] += np.random.default_rng(5).normal(0, 1, WRONG_BORDER[:, :, 0].shape)
BFLOAT16 = (MAPS.view(np.uint32) & 0xFFFF0000).view(np.float32)

EXPLAINED = {
    # actual, expected, explanation
    "zeros": (0 * MAPS, MAPS, "every element is 0"),
    "sign": (-MAPS, MAPS, "the sign is flipped"),
    "percent": (0.968 * MAPS, MAPS, "every element is 3.2 % too low"),
    "mean over classes": (MAPS / 1000, MAPS, "every element is 0.001 times the expected value"),
    "factor": (2 * MAPS, MAPS, "every element is 2 times the expected value"),
    "sum over 16": (np.array(170.0), np.array(10.625), "every element is 16 times the expected value"),
    "shift": (MAPS + 0.25, MAPS, "every element is 0.25 too high"),
    "axes": (SQUARE.swapaxes(2, 3), SQUARE, "the last two axes are swapped"),
    "square weight": (SQUARE.swapaxes(0, 1), SQUARE, "the first two axes are swapped"),
    "shape": (MATRIX.T, MATRIX, "it looks transposed"),
    "mirrored": (MAPS[:, :, :, ::-1], MAPS, "the columns are reversed"),
    "flipped": (MAPS[:, :, ::-1, ::-1], MAPS, "the rows and columns are reversed"),
    "a pixel": (shifted_by_one_row(MAPS), MAPS, "shifted by one row"),
    "batch": (MAPS[::-1], MAPS, "permuted along the first axis"),
    "channels": (MAPS[:, [1, 0, 2, 3, 5, 4]], MAPS, "permuted along the second axis"),
    "one image": (np.repeat(MAPS[:1], 2, 0), MAPS, "all slices along the first axis are identical"),
    "shuffled": (np.random.default_rng(6).permutation(MATRIX.ravel()).reshape(4, 6), MATRIX,
                 "the same values in a different order"),
    "ReLU": (POSITIVE, MAPS, "negative values are 0; an extra ReLU?"),
    "no ReLU": (MAPS, POSITIVE, "negative values are not set to 0; a missing ReLU?"),
    "cap": (np.minimum(MAPS, 2), MAPS, "values above 2 are clipped"),
    "no cap": (MAPS, np.minimum(MAPS, 2), "values above 2 are not clipped"),
    "float16": (MAPS.astype("float16").astype("float32"), MAPS, "the values have only float16 precision"),
    "bfloat16": (BFLOAT16, MAPS, "the values have only bfloat16 precision"),
    "factors": (MAPS * FACTORS, MAPS, "each channel is scaled by its own factor, 0.9 to 0.99"),
    "shifts": (MAPS + FACTORS, MAPS, "each channel is shifted by its own constant"),
    "normalisation": (
        MAPS * FACTORS + FACTORS[::-1], MAPS,
        "each channel is scaled and shifted on its own; different epsilon, gamma, beta, mean or variance?"),
    "border": (WRONG_BORDER, MAPS, "only at the border; different padding?"),
    "channel": (changed(MAPS, (0, 3, 1, 1), 9), MAPS, "only in channel 3"),
}  # fmt: skip

UNEXPLAINED = {
    "not quite zeros": (1e-3 * np.random.default_rng(7).normal(0, 1, MAPS.shape), MAPS),
    "one element of the right sign": (changed(-MAPS, (0, 0, 0, 0), MAPS[0, 0, 0, 0]), MAPS),
    "no whole multiple": (np.array(17.3), np.array(10.0)),
    "a factor and noise": (2 * MAPS + np.random.default_rng(8).normal(0, 0.5, MAPS.shape), MAPS),
    "unrelated values": (np.random.default_rng(9).normal(0, 2, MAPS.shape), MAPS),
    "unrelated positive values": (np.abs(np.random.default_rng(9).normal(0, 2, MAPS.shape)), MAPS),
    "another shape": (MAPS[:1], MAPS),
    "a transposed shape with other values": (MATRIX.T + 1, MATRIX),
    "not a number": (changed(MAPS, (0, 0, 0, 0), np.nan), MAPS),
    "an error near the tolerance": (MAPS * (1 + 3e-7), MAPS),
    "in every other channel": (
        MAPS + np.random.default_rng(8).normal(0, 1, MAPS.shape) * np.resize([1, 0, 1], 6).reshape(6, 1, 1), MAPS),
}  # fmt: skip


@pytest.mark.parametrize("case", EXPLAINED)
def test_explained(case: str) -> None:
    actual, expected, explanation = EXPLAINED[case]
    assert explain_error(np.asarray(actual, "float32"), expected, tolerance=TOLERANCE) == explanation


@pytest.mark.parametrize("case", UNEXPLAINED)
def test_no_explanation_rather_than_a_wrong_one(case: str) -> None:
    actual, expected = UNEXPLAINED[case]
    assert explain_error(np.asarray(actual, "float32"), expected, tolerance=TOLERANCE) == ""


BIASED = 0.9 * BEFORE + 0.968 * (AFTER - 0.9 * BEFORE)


@pytest.mark.parametrize(
    ("actual", "statistic", "explanation"),
    [
        (BEFORE, "running_mean", "training did not change it"),
        (BEFORE + 2 * (AFTER - BEFORE), "running_mean", "it changed 2 times as much as expected; different momentum?"),
        (
            BEFORE + 2 * (AFTER - BEFORE),
            "",
            "it changed 2 times as much as expected; different learning rate or momentum?",
        ),
        (BIASED, "running_var", "the batch statistic is 3.2 % too low; biased variance?"),
        (BIASED, "running_mean", "the batch statistic is 3.2 % too low"),
        (AFTER - 0.01 * BEFORE, "", "the error is proportional to the weight; different weight decay?"),
        (changed(AFTER, 5, 0), "running_var", "only in channel 5"),
        (AFTER + np.random.default_rng(7).normal(0, 0.1, 8), "running_var", ""),
        (changed(BEFORE, 5, 0), "running_mean", ""),
    ],
)
def test_explained_by_the_values_before_training(actual: np.ndarray, statistic: str, explanation: str) -> None:
    actual = actual.astype("float32")
    assert (
        explain_error(actual, AFTER, tolerance=TOLERANCE, initial=BEFORE, momentum=0.1, statistic=statistic)
        == explanation
    )


def test_a_sample_of_a_weight_has_no_channels() -> None:
    expected = np.random.default_rng(0).normal(0, 1, SAMPLE_SIZE)
    assert explain_error(changed(expected, 5, 9), expected, tolerance=TOLERANCE) == ""
    smaller = expected[1:]
    assert explain_error(changed(smaller, 5, 9), smaller, tolerance=TOLERANCE) == "only in channel 5"


def test_a_sample_is_compared_with_the_same_sample_of_the_initial_weight() -> None:
    """Workers return only a sample of a large weight."""
    before = np.random.default_rng(0).normal(0, 1, (10, 10))
    unchanged = sample(before, 8)
    assert unchanged.size == 8
    assert set(unchanged) <= set(before.reshape(-1))
    expected = unchanged + np.random.default_rng(1).normal(0, 1, 8)
    assert explain_error(unchanged, expected, tolerance=TOLERANCE, initial=before) == "training did not change it"
    decayed = expected - 0.01 * unchanged
    explanation = explain_error(decayed, expected, tolerance=TOLERANCE, initial=before)
    assert explanation == "the error is proportional to the weight; different weight decay?"
