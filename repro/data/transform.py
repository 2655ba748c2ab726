"""Preparation of images for a network: resizing, augmentation, normalisation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from repro.choices import CHANNELS, DECODINGS, INTERPOLATIONS, RANGES, RESIZES, check_range
from repro.data import rand_augment
from repro.data.decode import Divisor
from repro.data.fast_resize import fast_resize, resizer_version
from repro.errors import ReproError

Upload = Callable[[np.ndarray], Any]
Box = tuple[int, int, int, int]
"""Left, upper, right and lower edge in pixels; right and lower are excluded."""
CROP_AREA, CROP_RATIO = (0.08, 1.0), (3 / 4, 4 / 3)
CENTRE_FRACTION = 0.875
"""Fraction of the shorter side that the centre crop keeps: 224 of 256 pixels."""
LONGEST_RATIO = 16
"""Images longer than this many times their shorter side are cropped before they are resized."""
CUTOUT_AREA, CUTOUT_RATIO = (0.02, 0.4), (0.4, 2.5)


def unchanged(array: np.ndarray) -> np.ndarray:
    """Return the array where it is."""
    return array


class DecodedImage(NamedTuple):
    """An image to prepare, perhaps as a copy that was made smaller while it was decoded.

    A copy that was then turned is shifted by less than one of its pixels unless `scale` divides the original's sides.
    """

    image: Image.Image
    size: tuple[int, int]  # width and height of the original
    scale: int = 1  # divisor of the original's sides, of which the quotients are rounded up
    is_fast: bool = False  # resize by fast_resize instead of Pillow

    def resized(self, box: Box, size: tuple[int, int], resampling: Image.Resampling) -> Image.Image:
        """Return a box of the original, resized to this width and height, as if the box were the whole image."""
        left, top = box[0] // self.scale, box[1] // self.scale
        outer = left, top, -(-box[2] // self.scale), -(-box[3] // self.scale)
        image = self.image if outer == (0, 0, *self.image.size) else self.image.crop(outer)
        x, y, right, bottom = (edge / self.scale for edge in box)
        resize = fast_resize if self.is_fast else Image.Image.resize
        return resize(image, size, resampling, (x - left, y - top, right - left, bottom - top))


@dataclass(frozen=True, kw_only=True)
class Transform:
    """The steps grey -> resize -> (in training: pad -> rotate -> flip -> jitter -> RandAugment -> cutout) -> normalise.

    All steps except the last are applied where the image is loaded, and the last one to batches, since bytes take a
    quarter of the memory of float32. Random numbers are drawn in the order of the steps, and a step that is off draws
    nothing. A new augmentation is a field and a line in `augment`.

    resize "squash": resize to a square, whatever the shape of the image. "crop": in training, crop a random box of 8 to
    100 % of the area with a ratio of 3:4 to 4:3 and squash it (Szegedy et al., arXiv:1409.4842, section 6; as
    torchvision's RandomResizedCrop); in evaluation, resize the shorter side to image_size / crop_fraction and crop the
    centre. All resizing is antialiased.

    decode "fast": `load` decodes a JPEG in the smallest size, of 1, 1/2, 1/4 and 1/8, from which resizing does not
    enlarge it, and resizes by fast_resize. The random choices are those of "exact", and the pixels nearly so.

    Raises ReproError for values out of range, and for "fast" if the package that resizes is not installed.
    """

    image_size: int  # height and width in pixels
    resize: str = "squash"
    crop_fraction: float = CENTRE_FRACTION
    interpolation: str = "bilinear"  # or "bicubic"
    decode: str = "exact"  # or "fast"
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
        if self.decode not in DECODINGS:
            raise ReproError(f"decode must be {' or '.join(DECODINGS)}, not {self.decode!r}")
        _ = self.resizer  # raises if it is missing
        if self.channels not in CHANNELS:
            raise ReproError(f"channels must be 3 (RGB) or 1 (grey), not {self.channels!r}")
        in_range = all(m in RANGES["mean"] for m in self.mean) and all(s in RANGES["std"] for s in self.std)
        if not len(self.mean) == len(self.std) == self.channels or not in_range:
            count = "three numbers" if self.channels == 3 else "one number"
            raise ReproError(
                f"mean and std must be {count} each, for pixels scaled to 0..1, not {self.mean} and {self.std}; "
                "divide values for pixels of 0..255 by 255"
            )

    @property
    def resizer(self) -> str:
        """Return the package that resizes and its version, on which the bits depend; "" for Pillow."""
        return resizer_version() if self.decode == "fast" else ""

    def load(
        self, read: Callable[[Divisor | None], Image.Image], rng: np.random.Generator | None = None
    ) -> Image.Image:
        """Return an image after all steps except normalisation, of S x S pixels.

        read: decodes the image, as Subset.image does; a JPEG in a smaller size where `decode` is "fast".
        rng: draws the augmentation; None prepares the image for evaluation, without augmentation.
        """
        size = box = None
        scale = 1
        is_fast = self.decode == "fast"

        def divisor(width: int, height: int) -> int:
            nonlocal size, box, scale
            size, box = (width, height), self._draw_box(width, height, rng)
            scale = self._divisor(size, box)
            return scale

        image = read(divisor if is_fast else None)
        if size is None:  # nothing was divided
            size, box = image.size, self._draw_box(*image.size, rng)
        return self._prepare(DecodedImage(image, size, scale, is_fast), box, rng)

    def pixels(self, image: Image.Image, rng: np.random.Generator | None = None) -> np.ndarray:
        """Return the pixels of an RGB image after all steps except normalisation, as uint8 (S, S, channels).

        rng: draws the augmentation; None prepares the image for evaluation, without augmentation.
        """
        pixels = np.asarray(self.load(lambda _: image, rng))
        return pixels.reshape(self.image_size, self.image_size, self.channels)

    def _draw_box(self, width: int, height: int, rng: np.random.Generator | None) -> Box | None:
        """Return the box of a random crop, or None for the whole image."""
        return None if rng is None or self.resize != "crop" else random_box(width, height, rng)

    def _divisor(self, size: tuple[int, int], box: Box | None) -> int:
        """Return the largest of 1, 2, 4 and 8 by which sides may be divided so that resizing enlarges nothing."""
        shorter = min(box[2] - box[0], box[3] - box[1]) if box else min(size)
        is_centre = self.resize == "crop" and box is None
        needed = round(self.image_size / self.crop_fraction) if is_centre else self.image_size
        return max(scale for scale in (1, 2, 4, 8) if scale == 1 or scale * needed <= shorter)

    def _prepare(self, source: DecodedImage, box: Box | None, rng: np.random.Generator | None) -> Image.Image:
        """Return the image after all steps except normalisation. box: the random crop, or None."""
        if self.channels == 1:
            source = source._replace(image=source.image.convert("L"))
        resampling = Image.Resampling[self.interpolation.upper()]
        if self.resize == "crop" and box is None:
            image = centre_crop(source, self.image_size, self.crop_fraction, resampling)
        else:
            image = source.resized(box or (0, 0, *source.size), (self.image_size, self.image_size), resampling)
        return image if rng is None else self.augment(image, rng)

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

    def normalise(self, pixels: np.ndarray, upload: Upload = unchanged) -> Any:
        """Return (pixels / 255 - mean) / std, as float32 (N, channels, S, S). pixels: uint8 (N, channels, S, S).

        upload: moves pixels to where they are normalised, see Backend.upload. The bits are the same everywhere.
        """
        largest, mean, std = (np.array(values, np.float32).reshape(-1, 1, 1) for values in (255, self.mean, self.std))
        uploaded = upload(pixels)
        if uploaded is not pixels:  # divisors are uploaded, too: GPUs multiply by the reciprocal of a plain number
            return (uploaded / upload(largest) - upload(mean)) / upload(std)
        images = np.empty(pixels.shape, np.float32)
        for image, planes in zip(images, pixels, strict=True):  # an image stays in the cache, and a batch does not
            np.divide(planes, largest, out=image)
            np.subtract(image, mean, out=image)
            np.divide(image, std, out=image)
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
    source: DecodedImage,
    size: int,
    fraction: float = CENTRE_FRACTION,
    resampling: Image.Resampling = Image.Resampling.BILINEAR,
) -> Image.Image:
    """Return the centre of `size` x `size` pixels, after the shorter side is resized to size / fraction."""
    shorter, side = min(source.size), round(size / fraction)
    longest = LONGEST_RATIO * shorter
    left, top, right, bottom = middle(*source.size, longest, longest)  # 1 x 60,000 would become 256 x 15,360,000 pixels
    resized = (side * (right - left) // shorter, side * (bottom - top) // shorter)
    image = source.resized((left, top, right, bottom), resized, resampling)
    return image.crop(middle(*image.size, size, size))


def middle(width: int, height: int, most_columns: int, most_rows: int) -> Box:
    """Return the box in the middle of an image, with at most this number of columns and rows."""
    w, h = min(most_columns, width), min(most_rows, height)
    left, top = round((width - w) / 2), round((height - h) / 2)
    return left, top, left + w, top + h


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
