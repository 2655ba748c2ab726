"""Image preparation by hand, and batches that are bit-identical for any number of processes."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from repro.data import Dataset, Loader, Transform, open_dataset
from repro.data.rng import random_stream
from repro.errors import ReproError

ROOT = Path(__file__).parents[2]
PLAIN = Transform(image_size=8, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
AUGMENTED = Transform(image_size=12, rotation=10, flip=0.5)


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Class dog has 11 images and class cat 7; the red of an image is its number."""
    for name, count in (("dog", 11), ("cat", 7)):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (5, 4), (number, 10, 20)).save(tmp_path / "pets" / name / f"{number:02d}.png")
    return tmp_path / "pets"


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return open_dataset("digits")


def few(data: Dataset, train: int, val: int) -> Dataset:
    """Return the first images of each subset."""
    parts = [part.select(np.arange(len(part)) < n) for part, n in ((data.train, train), (data.val, val))]
    return Dataset(data.name, data.classes, parts[0], parts[1], data.split)


def bits(batches) -> list[tuple[bytes, bytes]]:
    return [(images.tobytes(), labels.tobytes()) for images, labels in batches]


def grey(*rows: list[int]) -> Image.Image:
    return Image.fromarray(np.array(rows, np.uint8)).convert("RGB")


class ChosenDraws(np.random.Generator):
    """A generator whose draws the test chooses."""

    def __init__(self, angle: float = 0.0, chance: float = 0.0) -> None:
        super().__init__(np.random.PCG64(0))
        self.angle, self.chance = angle, chance

    def uniform(self, low=0.0, high=1.0, size=None):
        assert low <= self.angle <= high, "an angle that the transform must not draw"
        return self.angle

    def random(self, size=None, dtype=None, out=None):
        return self.chance


# Image preparation


def test_image_is_squashed_bilinear_and_antialiased() -> None:
    # Halving four pixels: the weights of the first output are 3/4 3/4 1/4 over 7/4, and mirrored for the second.
    assert Transform(image_size=2).pixels(grey([0, 0, 255, 255])).tolist() == [[[36] * 3, [219] * 3]] * 2


def test_flip_and_rotation_by_hand() -> None:
    image = grey([1, 2], [3, 4])
    flip, turn = Transform(image_size=2, flip=0.5), Transform(image_size=2, rotation=90)
    assert flip.pixels(image, ChosenDraws(chance=0.49))[:, :, 0].tolist() == [[2, 1], [4, 3]]
    assert flip.pixels(image, ChosenDraws(chance=0.5))[:, :, 0].tolist() == [[1, 2], [3, 4]]
    assert turn.pixels(image, ChosenDraws(angle=90))[:, :, 0].tolist() == [[2, 4], [1, 3]]  # counterclockwise
    assert turn.pixels(image, ChosenDraws(angle=-90))[:, :, 0].tolist() == [[3, 1], [4, 2]]
    combined = Transform(image_size=2, rotation=90, flip=1)
    assert combined.pixels(image, ChosenDraws(angle=90))[:, :, 0].tolist() == [[4, 2], [3, 1]]  # turned, then mirrored
    for transform in (flip, turn, combined):
        assert transform.pixels(image)[:, :, 0].tolist() == [[1, 2], [3, 4]]  # evaluation


def test_rotation_keeps_the_size_and_fills_with_black() -> None:
    turned = Transform(image_size=8, rotation=45).pixels(grey(*[[200] * 8] * 8), ChosenDraws(angle=45))[:, :, 0]
    assert [turned[0, 0], turned[0, 7], turned[7, 0], turned[7, 7]] == [0, 0, 0, 0]
    assert turned[2:6, 2:6].tolist() == [[200] * 4] * 4


def test_augmentation_is_drawn_from_its_whole_range() -> None:
    image, mirrored = grey([1, 2], [3, 4]), [[2, 1], [4, 3]]
    flip = Transform(image_size=2, flip=0.25)
    count = sum(flip.pixels(image, random_stream(0, 0, index))[:, :, 0].tolist() == mirrored for index in range(400))
    assert 70 <= count <= 130
    turn = Transform(image_size=2, rotation=180)
    kinds = {turn.pixels(image, random_stream(0, 0, index))[0, 0, 0] for index in range(50)}
    assert kinds >= {1, 2, 3, 4}


def test_normalisation_by_hand() -> None:
    transform = Transform(image_size=1, mean=(0.5, 0.25, 0.0), std=(0.25, 0.5, 1.0))
    images = transform.normalise(np.array([[255, 0, 51], [0, 255, 255]], np.uint8).reshape(2, 3, 1, 1))
    assert images.dtype == np.float32
    assert images.flags.c_contiguous
    assert images.shape == (2, 3, 1, 1)
    assert images[:, :, 0, 0].tolist() == [[2.0, -0.5, float(np.float32(0.2))], [-2.0, 1.5, 1.0]]


@pytest.mark.parametrize(
    "wrong",
    [
        {"image_size": 0}, {"image_size": 5000}, {"image_size": 8.0}, {"rotation": -1}, {"rotation": float("nan")},
        {"flip": 1.5}, {"std": (1, 0, 1)}, {"std": (1, 1)}, {"mean": (123.7, 116.3, 103.5)},
    ],
)  # fmt: skip
def test_transforms_out_of_range_are_refused(wrong: dict) -> None:
    with pytest.raises(ReproError, match=f"{next(iter(wrong))}.* must be "):
        Transform(**{"image_size": 8, **wrong})


# Batches


def test_streams_of_different_keys_differ() -> None:
    keys = [(0,), (1,), (0, 0), (0, 1), (1, 0), (0, 0, 0), (0, 0, 1), (0, 1, 0)]
    assert len({random_stream(*key).integers(2**62) for key in keys}) == len(keys)


def test_batches_are_the_same_for_any_number_of_processes(digits: Dataset) -> None:
    data = few(digits, 50, 21)
    with Loader(data, batch_size=8, seed=3) as loader:
        epochs = [bits(loader.train(epoch, AUGMENTED)) for epoch in (0, 1)]
        val = bits(loader.val(AUGMENTED))
    assert epochs[0] != epochs[1]
    for workers in (1, 2):
        with Loader(data, batch_size=8, seed=3, workers=workers) as loader:
            assert bits(loader.train(1, AUGMENTED)) == epochs[1]  # without having seen epoch 0
            processes = {child.pid for child in multiprocessing.active_children()}
            assert bits(loader.val(AUGMENTED)) == val
            next(loader.train(1, AUGMENTED))  # abandoned
            assert bits(loader.train(0, AUGMENTED)) == epochs[0]
            assert {child.pid for child in multiprocessing.active_children()} == processes
            assert len(processes) == workers
        assert not multiprocessing.active_children()


def test_epoch_is_a_shuffle_that_drops_the_incomplete_batch(pets: Path) -> None:
    data = open_dataset(pets)  # 13 to train, 5 to validate; the red of an image is its number
    with Loader(data, batch_size=4, seed=5) as loader:
        assert loader.steps == 3
        epochs = [list(loader.train(epoch, PLAIN)) for epoch in range(3)]
        val = list(loader.val(PLAIN))
    orders = []
    for batches in epochs:
        assert [images.shape for images, _ in batches] == [(4, 3, 8, 8)] * 3
        assert {(images.dtype, labels.dtype) for images, labels in batches} == {(np.dtype("f4"), np.dtype("i8"))}
        red = np.concatenate([images[:, 0, 0, 0] for images, _ in batches]) * 255
        orders.append([*zip(np.concatenate([y for _, y in batches]).tolist(), np.rint(red).tolist(), strict=True)])
    known = {(label, float(Path(name).stem)) for name, label in zip(data.train.names, data.train.labels, strict=True)}
    assert all(len(set(order)) == 12 and set(order) < known for order in orders)
    assert orders[0] != orders[1] != orders[2]
    assert [labels.tolist() for _, labels in val] == [[0, 0, 1, 1], [1]]
    assert np.concatenate([images[:, 0, 0, 0] for images, _ in val]) * 255 == pytest.approx([0, 5, 0, 5, 10])


def test_less_than_one_batch_is_one_smaller_batch(pets: Path) -> None:
    with Loader(open_dataset(pets), batch_size=64) as loader:
        assert loader.steps == 1
        (batch,) = loader.train(0, PLAIN)
    assert len(batch[0]) == len(batch[1]) == 13


def test_transform_may_change_from_epoch_to_epoch(digits: Dataset) -> None:
    with Loader(few(digits, 8, 8), batch_size=8, workers=1) as loader:
        sizes = [next(loader.train(epoch, Transform(image_size=8 + epoch)))[0].shape for epoch in (0, 1)]
    assert sizes == [(8, 3, 8, 8), (8, 3, 9, 9)]


def test_augmentation_of_a_sample_does_not_depend_on_its_neighbours(digits: Dataset) -> None:
    data = few(digits, 40, 1)
    with Loader(data, batch_size=40) as large, Loader(data, batch_size=5) as small:
        (images, labels), parts = next(large.train(2, AUGMENTED)), list(small.train(2, AUGMENTED))
    assert np.array_equal(images, np.concatenate([x for x, _ in parts]))
    assert np.array_equal(labels, np.concatenate([y for _, y in parts]))


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_is_named_and_the_loader_goes_on(pets: Path, workers: int) -> None:
    (pets / "cat" / "05.png").write_bytes(b"")
    with Loader(open_dataset(pets), batch_size=1, workers=workers) as loader:
        batches = loader.val(PLAIN)
        next(batches)
        with pytest.raises(ReproError, match=r"^cannot read .*cat/05\.png \(not an image of a known format\); "):
            next(batches)
        assert len(list(loader.train(0, PLAIN))) == 13  # the processes still run
    assert not multiprocessing.active_children()


def test_the_death_of_a_process_is_reported(digits: Dataset) -> None:
    with Loader(digits, batch_size=4, workers=1) as loader:
        batches = loader.train(0, PLAIN)
        next(batches)
        for child in multiprocessing.active_children():
            child.kill()
        with pytest.raises(ReproError, match=r"a process that loads images died .* try fewer workers"):
            list(batches)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_the_command(how: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "parity_tests.programs.endless_loader"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        if how == signal.SIGINT:
            os.killpg(process.pid, how)  # as a terminal does
        else:
            process.kill()
        out, err = process.communicate(timeout=30)  # its end of the pipe closes with the last of its processes
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    if how == signal.SIGINT:
        assert (out, err) == ("interrupted\n", "")


@pytest.mark.slow
def test_a_script_without_a_main_guard_is_reported() -> None:
    """Such a script starts itself in each process, which dies. The data set is larger than a pipe's buffer."""
    script = ROOT / "parity_tests/programs/unguarded_loader.py"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=False, timeout=60, env=environment
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("repro.errors.ReproError: a process that loads images died")


def test_loader_that_is_not_used_leaves_nothing(digits: Dataset, capfd: pytest.CaptureFixture[str]) -> None:
    threads = threading.active_count()
    with Loader(digits, batch_size=8, workers=3):
        pass
    for thread in threading.enumerate()[threads:]:
        thread.join(30)
        assert not thread.is_alive()
    assert capfd.readouterr() == ("", "")
