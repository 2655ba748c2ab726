"""Preparation of images for a network: resizing, augmentation, normalisation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from repro.choices import CHANNELS, INTERPOLATIONS, RANGES, RESIZES, check_range
from repro.data import rand_augment
from repro.errors import ReproError

Box = tuple[int, int, int, int]
"""Left, upper, right and lower edge in pixels; right and lower are excluded."""
CROP_AREA, CROP_RATIO = (0.08, 1.0), (3 / 4, 4 / 3)
CENTRE_FRACTION = 0.875
"""Fraction of the shorter side that the centre crop keeps: 224 of 256 pixels."""
LONGEST_RATIO = 16
"""Images longer than this many times their shorter side are cropped before they are resized."""
CUTOUT_AREA, CUTOUT_RATIO = (0.02, 0.4), (0.4, 2.5)


@dataclass(frozen=True, kw_only=True)
class Transform:
    """The steps grey -> resize -> (in training: pad -> rotate -> flip -> jitter -> RandAugment -> cutout) -> normalise.

    All steps except the last are applied where the image is loaded, and the last one to batches, since bytes travel
    between processes several times as fast as float32. Random numbers are drawn in the order of the steps, and a step
    that is off draws nothing. A new augmentation is a field and a line in `augment`.

    resize "squash": resize to a square, whatever the shape of the image. "crop": in training, crop a random box of 8 to
    100 % of the area with a ratio of 3:4 to 4:3 and squash it (Szegedy et al., arXiv:1409.4842, section 6; as
    torchvision's RandomResizedCrop); in evaluation, resize the shorter side to image_size / crop_fraction and crop the
    centre. All resizing is antialiased.

    Raises ReproError for values out of range.
    """

    image_size: int  # height and width in pixels
    resize: str = "squash"
    crop_fraction: float = CENTRE_FRACTION
    interpolation: str = "bilinear"  # or "bicubic"
    pad: int = 0  # black pixels added on each side before a random crop (He et al., arXiv:1512.03385, section 4.2: 4)
    rotation: float = 0.0  # degrees: the angle is uniform(-rotation, rotation); corners become black
    flip: float = 0.0  # probability of mirroring left to right
    jitter: float = 0.0  # brightness, contrast and saturation change by factors uniform(1 - jitter, 1 + jitter)
    rand_augment: int = 0  # number of operations drawn from rand_augment.OPERATIONS
    magnitude: float = 9.0  # magnitude of these operations, from 0 to 10
    cutout: float = 0.0  # probability of erasing a rectangle
    channels: int = 3  # 3: RGB, 1: grey
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)  # per channel, of pixels scaled to 0..1; default: ImageNet's
    std: tuple[float, ...] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        for name in (
            "image_size",
            "crop_fraction",
            "pad",
            "rotation",
            "flip",
            "jitter",
            "rand_augment",
            "magnitude",
            "cutout",
        ):
            check_range(name, getattr(self, name))
        if self.pad > self.image_size:
            raise ReproError(f"pad must be at most the image size, {self.image_size}, not {self.pad}")
        if self.resize not in RESIZES:
            raise ReproError(f"resize must be {' or '.join(RESIZES)}, not {self.resize!r}")
        if self.interpolation not in INTERPOLATIONS:
            raise ReproError(f"interpolation must be {' or '.join(INTERPOLATIONS)}, not {self.interpolation!r}")
        if self.channels not in CHANNELS:
            raise ReproError(f"channels must be 3 (RGB) or 1 (grey), not {self.channels!r}")
        in_range = all(m in RANGES["mean"] for m in self.mean) and all(s in RANGES["std"] for s in self.std)
        if not len(self.mean) == len(self.std) == self.channels or not in_range:
            count = "three numbers" if self.channels == 3 else "one number"
            raise ReproError(
                f"mean and std must be {count} each, for pixels scaled to 0..1, not {self.mean} and {self.std}; "
                "divide values for pixels of 0..255 by 255"
            )

    def pixels(self, image: Image.Image, rng: np.random.Generator | None = None) -> np.ndarray:
        """Return the pixels of an RGB image after all steps except normalisation, as uint8 (S, S, channels).

        rng: draws the augmentation; None prepares the image for evaluation, without augmentation.
        """
        if self.channels == 1:
            image = image.convert("L")
        resampling = Image.Resampling[self.interpolation.upper()]
        if self.resize == "crop":
            if rng is None:
                image = centre_crop(image, self.image_size, self.crop_fraction, resampling)
            else:
                image = image.crop(random_box(*image.size, rng))
        image = image.resize((self.image_size, self.image_size), resampling)
        pixels = np.asarray(image if rng is None else self.augment(image, rng))
        return pixels.reshape(self.image_size, self.image_size, self.channels)

    def augment(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Return an augmented copy of a resized image."""
        if self.pad:
            top, left = (int(rng.integers(2 * self.pad + 1)) - self.pad for _ in range(2))
            image = image.crop((left, top, left + self.image_size, top + self.image_size))  # black outside the image
        if self.rotation:
            image = image.rotate(rng.uniform(-self.rotation, self.rotation))  # nearest pixel, as the frameworks do
        if self.flip and rng.random() < self.flip:
            image = ImageOps.mirror(image)
        if self.jitter:
            image = colour_jitter(image, self.jitter, rng)
        if self.rand_augment:
            image = rand_augment.rand_augment(image, self.rand_augment, self.magnitude, rng)
        if self.cutout and rng.random() < self.cutout:
            box = cutout_box(self.image_size, rng)
            image.paste((int(rng.integers(256)),) * self.channels, box)
        return image

    def normalise(self, pixels: np.ndarray) -> np.ndarray:
        """Return (pixels / 255 - mean) / std, as float32 (N, channels, S, S). pixels: uint8 (N, S, S, channels)."""
        mean, std = (np.array(values, np.float32).reshape(-1, 1, 1) for values in (self.mean, self.std))
        images = np.divide(pixels.transpose(0, 3, 1, 2), np.float32(255), order="C")
        images -= mean
        images /= std
        return images


def random_box(width: int, height: int, rng: np.random.Generator) -> Box:
    """Return a random box of an image, drawn as in torchvision's RandomResizedCrop.

    After ten draws that do not fit into the image, it is the largest box in the middle with a permitted ratio.
    """
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


def centre_crop(
    image: Image.Image,
    size: int,
    fraction: float = CENTRE_FRACTION,
    resampling: Image.Resampling = Image.Resampling.BILINEAR,
) -> Image.Image:
    """Return the centre of `size` x `size` pixels, after the shorter side is resized to size / fraction."""
    shorter, side = min(image.size), round(size / fraction)
    longest = LONGEST_RATIO * shorter
    image = crop_middle(image, longest, longest)  # without it, 1 x 60,000 pixels would become 256 x 15,360,000
    width, height = (side * length // shorter for length in image.size)
    return crop_middle(image.resize((width, height), resampling), size, size)


def crop_middle(image: Image.Image, width: int, height: int) -> Image.Image:
    """Return the middle of width x height pixels, or of fewer where the image is smaller."""
    width, height = min(width, image.width), min(height, image.height)
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))


def colour_jitter(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """Return an image with another brightness, contrast and saturation, changed in random order by random factors.

    The operations are those of torchvision's ColorJitter (brightness, contrast, saturation) on Pillow's images.
    """
    enhancers = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    factors = rng.uniform(1 - strength, 1 + strength, 3)
    for number in rng.permutation(3).tolist():
        image = enhancers[number](image).enhance(float(factors[number]))
    return image


def cutout_box(size: int, rng: np.random.Generator) -> Box:
    """Return a random box of 2 to 40 % of the area of a square, with a height of 0.4 to 2.5 times its width.

    It serves cutout (DeVries and Taylor, arXiv:1708.04552), with the shapes of random erasing (Zhong et al.,
    arXiv:1708.04896).
    """
    area, ratio = rng.uniform(*CUTOUT_AREA) * size * size, rng.uniform(*CUTOUT_RATIO)
    h, w = int(math.sqrt(area * ratio)), int(math.sqrt(area / ratio))
    top, left = int(rng.integers(size - h + 1)), int(rng.integers(size - w + 1))
    return left, top, left + w, top + h
