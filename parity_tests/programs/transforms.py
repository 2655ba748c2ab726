"""Programs of parity_tests/data/test_transforms.py: torchvision's operations and crops on the numbers that we draw."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from PIL import Image

from repro.data import Transform
from repro.data.rand_augment import OPERATIONS
from repro.data.rng import random_stream
from repro.data.transform import colour_jitter

TORCHVISION_NAMES = {
    "identity": "Identity", "autocontrast": "AutoContrast", "equalize": "Equalize", "rotate": "Rotate",
    "solarize": "Solarize", "color": "Color", "posterize": "Posterize", "contrast": "Contrast",
    "brightness": "Brightness", "sharpness": "Sharpness", "shear_x": "ShearX", "shear_y": "ShearY",
    "translate_x": "TranslateX", "translate_y": "TranslateY",
}  # fmt: skip


def _images() -> list[Image.Image]:
    """Return a noisy and a smooth image, in RGB and in grey."""
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8))
    smooth = small.resize((60, 45), Image.Resampling.BICUBIC)
    images = [Image.fromarray(rng.integers(0, 256, (40, 61, 3), np.uint8)), smooth]
    return images + [image.convert("L") for image in images]


def compare_operations() -> int:
    """Compare RandAugment's operations at every level with torchvision's, and return the number of comparisons."""
    from torchvision.transforms import autoaugment
    from torchvision.transforms.functional import InterpolationMode

    compared = 0
    assert set(TORCHVISION_NAMES) == set(OPERATIONS)
    for image in _images():
        space = autoaugment.RandAugment()._augmentation_space(31, (image.height, image.width))
        assert set(space) == set(TORCHVISION_NAMES.values())
        for name, operation in OPERATIONS.items():
            values, signed = space[TORCHVISION_NAMES[name]]
            assert signed == operation.signed, name
            for level in range(31):
                value = float(values[level]) if values.ndim else 0.0  # rounded to float32
                ours = value / {"translate_x": image.width, "translate_y": image.height}.get(name, 1)
                strength = operation.weakest + (operation.strongest - operation.weakest) * (level / 3) / 10
                assert abs(ours - strength) < (0.5 if name == "posterize" else 1e-4), (name, level)
                for sign in (1, -1) if signed else (1,):
                    arguments = TORCHVISION_NAMES[name], sign * value, InterpolationMode.NEAREST, None
                    expected = autoaugment._apply_op(image, *arguments)
                    actual = operation.apply(image, sign * ours)
                    assert (actual.mode, actual.size) == (expected.mode, expected.size)
                    assert actual.tobytes() == expected.tobytes(), (name, level, sign, image.mode)
                    compared += 1
    return compared


def compare_jitter() -> int:
    """Compare colour jitter with torchvision's, and return the number of orders of the changes that occurred."""
    from torchvision.transforms import functional

    changes = functional.adjust_brightness, functional.adjust_contrast, functional.adjust_saturation
    orders = set()
    for image in _images():
        for index in range(60):
            rng = random_stream(0, 0, index)
            factors, order = rng.uniform(0.2, 1.8, 3), rng.permutation(3)
            expected = image
            for number in order:
                expected = changes[number](expected, factors[number])
            actual = colour_jitter(image, 0.8, random_stream(0, 0, index))
            assert actual.tobytes() == expected.tobytes(), (index, image.mode)
            orders.add(tuple(order.tolist()))
    return len(orders)


class Recorded(np.random.Generator):
    """A generator that keeps its draws, in order."""

    def __init__(self, index: int) -> None:
        super().__init__(random_stream(0, 0, index).bit_generator)
        self.real_numbers: deque[Any] = deque()
        self.whole_numbers: deque[Any] = deque()

    def uniform(self, *args: Any) -> Any:
        """Draw and keep a real number."""
        self.real_numbers.append(super().uniform(*args))
        return self.real_numbers[-1]

    def integers(self, *args: Any) -> Any:
        """Draw and keep a whole number."""
        self.whole_numbers.append(super().integers(*args))
        return self.whole_numbers[-1]


def compare_crops() -> float:
    """Compare random and centre crops with torchvision's, and return the largest number of attempts at a random box."""
    import torch
    from torchvision import transforms

    rng = Recorded(0)

    def randint(low: int, high: int, size: object) -> torch.Tensor:
        value = int(rng.whole_numbers.popleft())
        assert low <= value < high
        return torch.tensor([value])

    def uniform(tensor: torch.Tensor, low: float, high: float) -> torch.Tensor:
        return torch.tensor([rng.real_numbers.popleft()], dtype=torch.float64)

    torch.Tensor.uniform_, torch.randint = uniform, randint
    attempts = 0.0
    shapes = [(64, 48), (48, 64), (33, 77), (100, 100), (200, 31), (31, 200), (500, 20), (3, 5), (1, 1)]
    for number, shape in enumerate(shapes):
        image = _images()[0].resize(shape)
        for index in range(30):
            rng = Recorded(30 * number + index)
            actual = Transform(image_size=24, resize="crop").pixels(image, rng)
            attempts = max(attempts, len(rng.real_numbers) / 2)
            expected = transforms.RandomResizedCrop(24)(image)
            assert not rng.real_numbers, shape
            assert not rng.whole_numbers, shape
            assert np.array_equal(actual, np.asarray(expected)), shape
        for size in (8, 21, 24, 32, 96):
            expected = transforms.CenterCrop(size)(transforms.Resize(round(size / 0.875))(image))
            actual = Transform(image_size=size, resize="crop").pixels(image)
            # longer than 16:1, an image is cropped first
            assert np.array_equal(actual, np.asarray(expected)) or shape == (500, 20), (shape, size)
    return attempts
