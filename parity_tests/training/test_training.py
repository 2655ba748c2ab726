"""The parts of the common training: schedules, meters, epochs, and checkpoints that cannot be trusted."""

from __future__ import annotations

import itertools
import json
import math
from typing import cast

import numpy as np
import pytest

from repro.errors import ReproError
from repro.interface import Trainer
from repro.interface.dropout_source import SeededDropout
from repro.specs import find_spec
from repro.training import console, loop, run_folder
from repro.training.loop import Diverged
from repro.training.meters import Meter, correct, cross_entropy
from repro.training.recipe import Recipe
from repro.training.schedules import SCHEDULES, learning_rate
from repro.weights import safetensors_file
from repro.weights.init import initialise

RECIPE = Recipe(backend="torch", model="asymmnet_small", batch_size=4)


def test_cosine_falls_with_every_step():
    rates = [learning_rate("cosine", 0.05, step, steps=5, epochs=4) for step in range(20)]
    assert rates[0] == 0.05 and rates[10] == pytest.approx(0.025) and rates[5] == pytest.approx(0.042678, abs=1e-6)
    assert all(a > b > 0 for a, b in itertools.pairwise(rates))


def test_cosine_epoch_falls_with_every_epoch():
    rates = [learning_rate("cosine-epoch", 0.05, step, steps=5, epochs=4) for step in range(20)]
    assert rates[:5] == [0.05] * 5 and len(set(rates)) == 4
    assert rates[5] == pytest.approx(0.05 * (1 + math.cos(math.pi / 4)) / 2)


def test_constant_stays():
    assert {learning_rate("constant", 0.3, step, steps=5, epochs=4) for step in range(20)} == {0.3}


def test_step_falls_to_a_tenth_after_each_third() -> None:
    rates = [learning_rate("step", 1.0, step, steps=3, epochs=3) for step in range(9)]
    assert rates == pytest.approx([1.0] * 3 + [0.1] * 3 + [0.01] * 3)


def test_step_half_falls_to_a_tenth_at_the_half_and_at_three_quarters() -> None:
    rates = [learning_rate("step-half", 1.0, step, steps=4, epochs=2) for step in range(8)]
    assert rates == pytest.approx([1.0] * 4 + [0.1] * 2 + [0.01] * 2)


def test_exponential_falls_every_2_4_epochs() -> None:
    rates = [learning_rate("exponential", 1.0, step, steps=5, epochs=6) for step in range(30)]
    assert rates == pytest.approx([1.0] * 12 + [0.97] * 12 + [0.97**2] * 6)


@pytest.mark.parametrize("schedule", ["cosine", "cosine-epoch", "linear"])
def test_the_end_of_a_schedule_takes_the_place_of_0(schedule: str) -> None:
    to_0, to_end = ([learning_rate(schedule, 2.0, step, steps=5, epochs=4, end=end) for step in range(20)]
                    for end in (0.0, 0.1))  # fmt: skip
    assert to_end == pytest.approx([0.2 + 0.9 * rate for rate in to_0])


def test_linear_falls_evenly() -> None:
    assert [learning_rate("linear", 1.0, step, steps=2, epochs=2) for step in range(4)] == [1.0, 0.75, 0.5, 0.25]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_warm_up_rises_to_where_the_schedule_begins(schedule: str) -> None:
    """Goyal et al., arXiv:1706.02677, section 2.2: from small to base, and no step without learning."""
    rates = [learning_rate(schedule, 0.4, step, steps=4, epochs=3, warmup=1) for step in range(12)]
    assert rates[:5] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4])
    assert min(rates) > 0
    assert rates[4:] == [learning_rate(schedule, 0.4, step, steps=4, epochs=2) for step in range(8)]


def test_cross_entropy():
    logits, labels = np.array([[2.0, 1.0, 0.0], [0.0, 0.0, 0.0]], np.float32), np.array([0, 2])
    assert cross_entropy(logits, labels) == pytest.approx((math.log(1 + math.exp(-1) + math.exp(-2)) + math.log(3)) / 2)
    assert logits[0, 0] == 2  # the caller's array is left alone


def test_cross_entropy_of_large_logits_is_finite():
    assert cross_entropy(np.array([[3e38, -3e38]], np.float32), np.array([1])) == pytest.approx(6e38)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_cross_entropy_of_broken_logits_is_not_finite(bad):
    assert not math.isfinite(cross_entropy(np.array([[0.0, bad]], np.float32), np.array([0])))


def test_correct_counts_the_label_among_the_largest():
    logits = np.array([[0, 1, 2, 3, 4, 5]] * 6, np.float32)
    labels = np.arange(6)
    assert [correct(logits, labels, k) for k in (1, 2, 5, 6)] == [1, 2, 5, 6]


def test_correct_with_fewer_classes_than_k():
    assert correct(np.array([[0.0, 1.0]], np.float32), np.array([0]), 5) == 1


def test_correct_does_not_reward_constant_or_broken_outputs():
    labels = np.arange(10)
    assert correct(np.zeros((10, 10), np.float32), labels, 1) == 1
    assert correct(np.zeros((10, 10), np.float32), labels, 5) == 5
    assert correct(np.full((10, 10), np.nan, np.float32), labels, 5) == 0
    assert correct(np.array([[np.nan, 1.0]], np.float32), np.array([1]), 5) == 0


def test_meter_weighs_batches_by_their_size():
    meter = Meter()
    meter.add(1.0, np.eye(3, dtype=np.float32), np.arange(3))
    meter.add(5.0, np.eye(3, dtype=np.float32)[:1], np.array([1]))
    assert (meter.images, meter.loss, meter.top1, meter.top5) == (4, 2.0, 0.75, 1.0)


class Predictor:
    """Logits that are the first pixels; remembers the shapes it saw."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def predict(self, images):
        self.shapes.append(images.shape)
        return images[:, 0, 0, :3]


def test_validation_sees_one_shape_and_counts_real_images_only():
    rng = np.random.default_rng(0)
    images, trainer = rng.normal(size=(6, 3, 8, 8)).astype(np.float32), Predictor()
    labels = images[:, 0, 0, :3].argmax(1)
    meter = loop.validate(cast(Trainer, trainer), [(images[:4], labels[:4]), (images[4:], labels[4:])], RECIPE, 1)
    assert trainer.shapes == [(4, 3, 8, 8)] * 2
    assert (meter.images, meter.top1) == (6, 1.0)
    assert meter.loss == pytest.approx(cross_entropy(images[:, 0, 0, :3], labels))


def test_validation_stops_at_broken_logits():
    images = np.full((4, 3, 8, 8), np.nan, np.float32)
    with pytest.raises(Diverged, match="validation loss became nan after the last step of epoch 3"):
        loop.validate(cast(Trainer, Predictor()), [(images, np.zeros(4, np.int64))], RECIPE, 3)


def test_what_is_dropped_depends_on_seed_epoch_layer_and_step():
    def drawn(seed: int, epoch: int) -> list[bytes]:
        drops = SeededDropout(seed)
        drops("before", (1,))
        drops.begin_epoch(epoch)
        return [drops(name, (2, 3)).tobytes() for name in ("a", "b", "a")]

    every = [drawn(seed, epoch) for seed in range(5) for epoch in range(5)]
    assert len({draw for three in every for draw in three}) == 3 * 25
    assert drawn(3, 4) == drawn(3, 4)
    numbers = SeededDropout(0)("a", (1000,))
    assert numbers.dtype == np.float32 and 0 <= numbers.min() < 0.01 and 0.99 < numbers.max() < 1


def test_a_bar_writes_nothing_into_a_log(capsys):
    assert list(console.bar("epoch 1/2", 3, range(3))) == [0, 1, 2]
    assert capsys.readouterr() == ("", "")


SPEC = find_spec("asymmnet_small_x0_35", num_classes=10)
PROGRESS = {"digest": "d", "history": [], "images": 0, "seconds": 0.0}


def written(folder, arrays=None, progress=None, **optimizer):
    """A checkpoint of SPEC with something wrong in it."""
    arrays = {f"weights/{name}": array for name, array in (arrays or initialise(SPEC, 0)).items()}
    path = folder / "checkpoint.safetensors"
    arrays |= {f"optimizer/{name}": array for name, array in optimizer.items()}
    safetensors_file.save(path, arrays, {"progress": json.dumps(PROGRESS if progress is None else progress)})
    return path


def test_a_checkpoint_is_read_back(tmp_path):
    velocity = {"velocity/classifier.bias": np.arange(10, dtype=np.float32)}
    progress, weights, state = run_folder.load(written(tmp_path, **velocity), SPEC)
    assert progress == run_folder.TrainingProgress("d") and progress.epoch == 0
    assert weights.keys() == SPEC.weights.keys() and state.keys() == velocity.keys()
    assert np.array_equal(state["velocity/classifier.bias"], np.arange(10))


@pytest.mark.parametrize(
    "progress",
    [
        [],
        3,
        {},
        {**PROGRESS, "history": 3},
        {**PROGRESS, "history": [3]},
        {**PROGRESS, "history": [{}]},
        {**PROGRESS, "history": [dict.fromkeys(run_folder.METRICS, "1")]},
        {**PROGRESS, "images": None},
        {**PROGRESS, "digest": 3},
        {**PROGRESS, "more": 3},
    ],
)
def test_a_checkpoint_with_false_progress_is_refused(tmp_path, progress):
    with pytest.raises(ReproError, match="was not written by a training run"):
        run_folder.load(written(tmp_path, progress=progress), SPEC)


def test_a_weight_file_is_no_checkpoint(tmp_path):
    safetensors_file.save(tmp_path / "w.safetensors", initialise(SPEC, 0))
    with pytest.raises(ReproError, match="was not written by a training run"):
        run_folder.load(tmp_path / "w.safetensors", SPEC)


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    other = initialise(find_spec("asymmnet_small_x0_35", num_classes=7), 0)
    with pytest.raises(ReproError, match=r"classifier.weight has shape \(7, 1280\) instead of \(10, 1280\)"):
        run_folder.load(written(tmp_path, other), SPEC)


def test_a_checkpoint_of_an_optimizer_that_counts_and_averages_is_read_back(tmp_path):
    zeros = np.zeros(10, np.float32)
    state = {f"{slot}/classifier.bias": zeros for slot in ("moment1", "moment2", "square", "ema")}
    found = run_folder.load(written(tmp_path, **state, steps=np.array(7)), SPEC)[2]
    assert found.keys() == {*state, "steps"} and int(found["steps"]) == 7


@pytest.mark.parametrize("steps", [np.array(-1), np.zeros(2, np.int64), np.array(0.5), np.zeros(0, np.int64)])
def test_a_number_of_steps_that_is_none_is_refused(tmp_path, steps):
    with pytest.raises(ReproError, match="step count is not an integer from 0; start a new run"):
        run_folder.load(written(tmp_path, steps=steps), SPEC)


@pytest.mark.parametrize(
    "optimizer", [{"velocity/classifier.bias": np.zeros(9)}, {"velocity/nothing": np.zeros(1)}, {"step": np.zeros(1)}]
)
def test_an_optimizer_state_that_does_not_fit_is_refused(tmp_path, optimizer):
    with pytest.raises(ReproError, match="does not fit a weight of asymmnet_small_x0_35"):
        run_folder.load(written(tmp_path, **optimizer), SPEC)
