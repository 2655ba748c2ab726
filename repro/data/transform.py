"""What is done to an image before a network sees it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from repro.data import rand_augment
from repro.errors import ReproError

Box = tuple[int, int, int, int]  # left, upper, right, lower, in pixels
RESIZES = ("squash", "crop")
CROP_AREA, CROP_RATIO = (0.08, 1.0), (3 / 4, 4 / 3)
LONGEST = 16  # times as long as wide: what lies further out is no part of the centre
CENTRE = 0.875  # what the centre crop leaves of the shorter side: 224 of 256 pixels
CUTOUT_AREA, CUTOUT_RATIO = (0.02, 0.4), (0.4, 2.5)


@dataclass(frozen=True, kw_only=True)
class Transform:
    """grey -> resize -> (training: pad -> rotate -> flip -> RandAugment -> cutout) -> normalise. A new augmentation is
    a field and a line in `augment`.

    All steps but the last are done where the image is loaded; the last on batches, since bytes travel between
    processes several times as fast as float32. Draws are made in the order of the steps, and none for what is off.

    resize "squash": the image becomes a square, whatever its shape. "crop": training takes a random part of 8 to 100 %
    of the area with sides of 3:4 to 4:3 and squashes that (Szegedy et al., arXiv:1409.4842, section 6; as
    torchvision's RandomResizedCrop); evaluation resizes the shorter side to image_size / 0.875 and takes the centre.
    All resizing is antialiased and bilinear.
    """

    image_size: int  # side in pixels
    resize: str = "squash"
    pad: int = 0  # training images get so many black pixels on each side, and are cut out of that at random
    # (He et al., arXiv:1512.03385, section 4.2: 4)
    rotation: float = 0.0  # degrees: training images are turned by uniform(-rotation, rotation); corners become black
    flip: float = 0.0  # probability of a training image to be mirrored left to right
    rand_augment: int = 0  # operations on each training image, drawn from rand_augment.OPERATIONS
    magnitude: float = 9.0  # of these, from 0 to 10
    cutout: float = 0.0  # probability of a training image to lose a rectangle
    channels: int = 3  # 3: RGB, 1: grey
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)  # of values in 0..1, one for each channel; by default ImageNet's
    std: tuple[float, ...] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        for name, low, high in (("image_size", 1, 4096), ("pad", 0, self.image_size), ("rand_augment", 0, 100)):
            value = getattr(self, name)
            if not isinstance(value, int) or not low <= value <= high:
                raise ReproError(f"{name} must be a whole number from {low} to {high}, not {value!r}")
        if self.resize not in RESIZES:
            raise ReproError(f"resize must be {' or '.join(RESIZES)}, not {self.resize!r}")
        if not 0 <= self.rotation <= 180:
            raise ReproError(f"rotation must be from 0 to 180 degrees, not {self.rotation!r}")
        if not 0 <= self.magnitude <= rand_augment.STRONGEST:
            raise ReproError(f"magnitude must be from 0 to {rand_augment.STRONGEST}, not {self.magnitude!r}")
        for name in ("flip", "cutout"):
            if not 0 <= getattr(self, name) <= 1:
                raise ReproError(f"{name} must be a probability from 0 to 1, not {getattr(self, name)!r}")
        if self.channels not in (1, 3):
            raise ReproError(f"channels must be 3 (RGB) or 1 (grey), not {self.channels!r}")
        in_range = all(0 <= m <= 1 for m in self.mean) and all(0 < s <= 1 for s in self.std)
        if not len(self.mean) == len(self.std) == self.channels or not in_range:
            count = "three numbers" if self.channels == 3 else "one number"
            raise ReproError(
                f"mean and std must be {count} each, of values scaled to 0..1, not {self.mean} and {self.std}; "
                "divide numbers for 0..255 by 255"
            )

    def pixels(self, image: Image.Image, rng: np.random.Generator | None = None) -> np.ndarray:
        """RGB image -> uint8 (S, S, channels). `rng` draws the augmentation; None: evaluation, without augmentation."""
        if self.channels == 1:
            image = image.convert("L")
        if self.resize == "crop":
            image = centre(image, self.image_size) if rng is None else image.crop(random_part(*image.size, rng))
        image = image.resize((self.image_size, self.image_size), Image.Resampling.BILINEAR)
        pixels = np.asarray(image if rng is None else self.augment(image, rng))
        return pixels.reshape(self.image_size, self.image_size, self.channels)

    def augment(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        if self.pad:
            top, left = (int(rng.integers(2 * self.pad + 1)) - self.pad for _ in range(2))
            image = image.crop((left, top, left + self.image_size, top + self.image_size))  # black outside the image
        if self.rotation:
            image = image.rotate(rng.uniform(-self.rotation, self.rotation))  # nearest pixel, as the frameworks do
        if self.flip and rng.random() < self.flip:
            image = ImageOps.mirror(image)
        if self.rand_augment:
            image = rand_augment.rand_augment(image, self.rand_augment, self.magnitude, rng)
        if self.cutout and rng.random() < self.cutout:
            box = rectangle(self.image_size, rng)
            image.paste((int(rng.integers(256)),) * self.channels, box)
        return image

    def normalise(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 (N, S, S, channels) -> float32 (N, channels, S, S): values / 255, minus mean, divided by std."""
        mean, std = (np.array(values, np.float32).reshape(-1, 1, 1) for values in (self.mean, self.std))
        images = np.divide(pixels.transpose(0, 3, 1, 2), np.float32(255), order="C")
        images -= mean
        images /= std
        return images


def random_part(width: int, height: int, rng: np.random.Generator) -> Box:
    """The box of a random part of an image, drawn as by torchvision's RandomResizedCrop: up to ten times, and otherwise
    the largest part in the middle that is not too long."""
    narrowest, widest = CROP_RATIO
    for _ in range(10):
        area = width * height * rng.uniform(*CROP_AREA)
        ratio = math.exp(rng.uniform(math.log(narrowest), math.log(widest)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
            return left, top, left + w, top + h
    w, h = min(width, round(height * widest)), min(height, round(width / narrowest))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def centre(image: Image.Image, size: int) -> Image.Image:
    """The centre of `size` x `size` pixels, once the shorter side is resized to size / 0.875."""
    shorter, side = min(image.size), round(size / CENTRE)
    image = middle(image, LONGEST * shorter, LONGEST * shorter)  # 1 x 60,000 pixels would become 256 x 15,360,000
    width, height = (side * length // shorter for length in image.size)
    return middle(image.resize((width, height), Image.Resampling.BILINEAR), size, size)


def middle(image: Image.Image, width: int, height: int) -> Image.Image:
    """The middle of so many pixels, or fewer where the image has fewer."""
    width, height = min(width, image.width), min(height, image.height)
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))


def rectangle(size: int, rng: np.random.Generator) -> Box:
    """The box of 2 to 40 % of a square's area, of a height of 0.4 to 2.5 times its width, for cutout (DeVries and
    Taylor, arXiv:1708.04552) with the random shape of random erasing (Zhong et al., arXiv:1708.04896)."""
    area, ratio = rng.uniform(*CUTOUT_AREA) * size * size, rng.uniform(*CUTOUT_RATIO)
    h, w = int(math.sqrt(area * ratio)), int(math.sqrt(area / ratio))
    top, left = int(rng.integers(size - h + 1)), int(rng.integers(size - w + 1))
    return left, top, left + w, top + h
