"""Crops, padding, cutout, grey and RandAugment by hand, and compared with torchvision on the same draws."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pytest
from PIL import Image

from repro.data import Transform
from repro.data.rand_augment import OPERATIONS, rand_augment
from repro.data.rng import random_stream
from repro.data.transform import DecodedImage, centre_crop, cutout_box, random_box
from repro.errors import ReproError

Run = Callable[..., Any]
Require = Callable[[str], None]

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8))


def grey(*rows: list[int]) -> Image.Image:
    return Image.fromarray(np.array(rows, np.uint8)).convert("RGB")


def drawn(transform: Transform, image: Image.Image, count: int = 400) -> list[np.ndarray]:
    return [transform.pixels(image, random_stream(0, 0, index)) for index in range(count)]


# Padding


def test_padding_moves_an_image_by_up_to_its_width() -> None:
    rows = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    framed = np.pad(np.array(rows), 2)
    places = {framed[y : y + 3, x : x + 3].tobytes() for y, x in product(range(5), repeat=2)}
    windows = [pixels[:, :, 0].astype(int).tobytes() for pixels in drawn(Transform(image_size=3, pad=2), grey(*rows))]
    assert set(windows) == places
    assert max(windows.count(place) for place in places) < 40  # 16 of each are expected


# The random crop


def test_area_and_ratio_of_the_random_crop() -> None:
    boxes = np.array([random_box(3000, 3000, random_stream(0, 0, index)) for index in range(2000)])
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    area, ratio = width * height / 3000**2, width / height
    assert (area > 0.0799).all()
    assert (boxes >= 0).all()
    assert (boxes[:, 2:] <= 3000).all()
    assert 0.749 < ratio.min() < 0.76
    assert 1.32 < ratio.max() < 1.334
    assert area.min() < 0.09
    assert area.max() > 0.95
    assert abs(np.log(ratio).mean()) < 0.02
    assert len(np.unique(boxes[:, 0])) > 500
    assert boxes[:, 1].max() > 1000


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((1000, 10), (493, 0, 506, 10)), ((10, 1000), (0, 493, 10, 506)),  # no box fits: the middle
        ((1000, 1), (499, 0, 500, 1)), ((1, 1), (0, 0, 1, 1)),
    ],
)  # fmt: skip
def test_random_crop_of_a_long_image(size: tuple[int, int], box: tuple[int, ...]) -> None:
    assert random_box(*size, random_stream(1)) == box


def test_random_crop_is_squashed_to_the_size() -> None:
    flat = Image.new("RGB", (50, 31), (9, 8, 7))
    pixels = Transform(image_size=12, resize="crop").pixels(flat, random_stream(0))
    assert pixels.tolist() == [[[9, 8, 7]] * 12] * 12
    assert len({pixels.tobytes() for pixels in drawn(Transform(image_size=8, resize="crop"), NOISE, 20)}) == 20


# The centre crop


def whole(image: Image.Image) -> DecodedImage:
    return DecodedImage(image, image.size, 1)


def test_centre_crop_by_hand() -> None:
    rows = np.arange(16 * 32, dtype=np.uint16).reshape(16, 32).astype(np.uint8)
    pixels = np.asarray(centre_crop(whole(Image.fromarray(rows)), 14))  # 16 x 32 pixels need no resizing
    assert pixels.tolist() == rows[1:15, 9:23].tolist()
    assert np.asarray(centre_crop(whole(Image.fromarray(rows.T.copy())), 14)).tolist() == rows.T[9:23, 1:15].tolist()
    assert {centre_crop(whole(Image.new("L", size)), 14).size for size in [(1, 1), (3, 500), (500, 3)]} == {(14, 14)}


def test_centre_crop_of_an_image_that_is_too_long_to_resize() -> None:
    tall = Image.new("RGB", (1, 60_000), (9, 8, 7))
    assert (Transform(image_size=224, resize="crop").pixels(tall) == [9, 8, 7]).all()


# Cutout


def test_area_and_ratio_of_the_cutout() -> None:
    boxes = np.array([cutout_box(2000, random_stream(0, 0, index)) for index in range(2000)])
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    area, ratio = width * height / 2000**2, height / width
    assert boxes.min() >= 0
    assert boxes.max() <= 2000
    assert 0.0199 < area.min() < 0.03
    assert 0.39 < area.max() <= 0.4
    assert 0.399 < ratio.min() < 0.41
    assert 2.48 < ratio.max() < 2.501
    assert abs(ratio.mean() - 1.45) < 0.05  # uniform
    assert cutout_box(1, random_stream(0))[2:] in {(0, 0), (0, 1), (1, 0)}


@pytest.mark.parametrize("channels", [1, 3])
def test_cutout_is_one_value_in_one_rectangle(channels: int) -> None:
    image = Image.new("RGB", (20, 20), (77, 77, 77))
    mean = std = (0.5,) * channels
    changed, values = 0, set()
    for pixels in drawn(Transform(image_size=20, cutout=0.25, channels=channels, mean=mean, std=std), image):
        cut = (pixels != 77).all(axis=2)
        if cut.any():
            rows, columns = np.flatnonzero(cut.any(axis=1)), np.flatnonzero(cut.any(axis=0))
            hole = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            assert len(np.unique(hole)) == 1
            assert 0.01 < hole[:, :, 0].size / 400 <= 0.4
            assert cut.sum() == hole[:, :, 0].size
            values.add(int(hole[0, 0, 0]))
            changed += 1
    assert 70 <= changed <= 130
    assert len(values) > 50
    assert (image.getpixel((0, 0)), image.size) == ((77, 77, 77), (20, 20))


# Grey


def test_grey_is_one_channel() -> None:
    transform = Transform(image_size=2, channels=1, mean=(0.5,), std=(0.25,))
    pixels = transform.pixels(Image.new("RGB", (5, 4), (100, 150, 200)))
    assert (pixels.shape, pixels.dtype) == ((2, 2, 1), np.uint8)
    assert set(pixels.flat) == {141}  # 0.299 * 100 + 0.587 * 150 + 0.114 * 200
    images = transform.normalise(np.array([[[[255, 0], [51, 255]]]], np.uint8))
    assert (images.shape, images.dtype, images.flags.c_contiguous) == ((1, 1, 2, 2), np.float32, True)
    assert images[0, 0, 0].tolist() == [2, -2]
    values = list(range(256))
    line = Transform(image_size=256, channels=1, mean=(0.5,), std=(0.5,)).pixels(grey(values))
    assert line[0, :, 0].tolist() == values  # a grey image keeps its values


# All steps


ALL: dict[str, Any] = {"resize": "crop", "pad": 3, "rotation": 20, "flip": 0.5, "jitter": 0.4}
ALL |= {"rand_augment": 2, "cutout": 0.5}


@pytest.mark.parametrize("channels", [1, 3])
def test_all_steps_together(channels: int) -> None:
    transform = Transform(image_size=24, channels=channels, mean=(0.5,) * channels, std=(0.5,) * channels, **ALL)
    once, again = (drawn(transform, NOISE, 30) for _ in range(2))
    assert {(pixels.shape, pixels.dtype) for pixels in once} == {((24, 24, channels), np.dtype(np.uint8))}
    assert all(np.array_equal(*pair) for pair in zip(once, again, strict=True))
    assert len({pixels.tobytes() for pixels in once}) == 30
    plain = Transform(image_size=24, resize="crop", channels=channels, mean=transform.mean, std=transform.std)
    assert np.array_equal(transform.pixels(NOISE), plain.pixels(NOISE))  # evaluation is not augmented


@pytest.mark.parametrize("name", ALL)
def test_a_step_that_is_off_draws_nothing(name: str) -> None:
    transform, used = Transform(image_size=24, **{name: ALL[name]}), random_stream(0)
    transform.pixels(NOISE, used)
    assert used.random() != random_stream(0).random()
    untouched = random_stream(0)
    Transform(image_size=24).pixels(NOISE, untouched)
    assert untouched.random() == random_stream(0).random()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"resize": "fit"}, "resize must be squash or crop, not 'fit'"),
        ({"pad": -1}, "pad must be a whole number from 0 to 64"), ({"pad": 9}, "pad must be at most the image size, 8"),
        ({"pad": 1.5}, "pad must be"), ({"cutout": 1.1}, "cutout must be a number from 0 to 1, not 1.1"),
        ({"cutout": float("nan")}, "cutout must be"), ({"rand_augment": -1}, "rand_augment must be a whole number"),
        ({"jitter": 1.5}, "jitter must be a number from 0 to 1"),
        ({"rand_augment": 1.0}, "rand_augment must be"), ({"magnitude": 11}, "magnitude must be a number from 0 to 10"),
        ({"magnitude": float("nan")}, "magnitude must be"), ({"channels": 4}, r"channels must be 3 \(RGB\) or 1"),
        ({"channels": 1}, "mean and std must be one number each"),
        ({"mean": (0.5,), "std": (0.5,)}, "mean and std must be three numbers each"),
        ({"channels": 1, "mean": (0.5,), "std": (0.2, 0.2, 0.2)}, "must be one number each"),
    ],
)  # fmt: skip
def test_transforms_out_of_range_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(ReproError, match=message):
        Transform(**{"image_size": 8, **wrong})


# Colour jitter


def test_jitter_of_a_single_grey_changes_only_its_brightness() -> None:
    values = np.array([pixels[0, 0] for pixels in drawn(Transform(image_size=2, jitter=0.4), grey([100, 100]))])
    assert (values == values[:, :1]).all()
    assert values.min() >= 60 and values.max() <= 140
    assert values.min() < 62 and values.max() > 138 and abs(values.mean() - 100) < 3


# RandAugment


def test_every_operation_is_drawn_and_signs_are_even(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, float]] = []

    def watch(name: str, image: Image.Image, strength: float) -> Image.Image:
        seen.append((name, strength))
        return image

    watched = {name: operation._replace(apply=partial(watch, name)) for name, operation in OPERATIONS.items()}
    monkeypatch.setattr("repro.data.rand_augment.OPERATIONS", watched)
    for index in range(1000):
        rand_augment(NOISE, 3, 5, random_stream(0, 0, index))
    strengths = {name: [strength for other, strength in seen if other == name] for name in OPERATIONS}
    assert len(seen) == 3000
    assert all(160 < len(values) < 270 for values in strengths.values())  # 214 of each
    expected = {name: (op.weakest + op.strongest) / 2 for name, op in OPERATIONS.items()}
    for name, operation in OPERATIONS.items():
        signs = {expected[name], -expected[name]} if operation.signed else {expected[name]}
        assert set(strengths[name]) == signs
    assert 0.35 < np.mean(np.array(strengths["rotate"]) > 0) < 0.65


def test_magnitude_0_changes_little_and_10_much() -> None:
    """Operations with a strength hardly change an image at magnitude 0."""
    always = {"autocontrast", "equalize", "identity"}
    for name, operation in OPERATIONS.items():
        if name not in always:
            same = operation.apply(NOISE, operation.weakest)
            assert np.abs(np.asarray(same, int) - np.asarray(NOISE)).max() <= (255 if name == "solarize" else 1), name
            assert np.mean(np.asarray(same) != np.asarray(NOISE)) < 0.01, name  # solarize turns 255 to 0
            assert operation.apply(NOISE, operation.strongest).tobytes() != NOISE.tobytes(), name


# Compared with torchvision, whose draws are replaced by ours


def test_operations_are_those_of_torchvision(run_program: Run, require_backend: Require) -> None:
    require_backend("torch")
    assert run_program("torch", "transforms:compare_operations") == 4 * 31 * (14 + 9)


def test_jitter_is_that_of_torchvision(run_program: Run, require_backend: Require) -> None:
    require_backend("torch")
    assert run_program("torch", "transforms:compare_jitter") == 6  # orders


def test_crops_are_those_of_torchvision(run_program: Run, require_backend: Require) -> None:
    require_backend("torch")
    assert run_program("torch", "transforms:compare_crops") == 10
