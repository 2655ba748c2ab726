"""What is done to an image before a network sees it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from repro.errors import ReproError

Channels = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Transform:
    """resize -> (training: rotate -> flip) -> normalise. A new augmentation is a field and a line in `augment`.

    All steps but the last are done where the image is loaded; the last on batches, since bytes travel between
    processes several times as fast as float32.
    """

    image_size: int  # side in pixels; the image is squashed to a square, antialiased and bilinear
    rotation: float = 0.0  # degrees: training images are turned by uniform(-rotation, rotation); corners become black
    flip: float = 0.0  # probability of a training image to be mirrored left to right
    mean: Channels = (0.485, 0.456, 0.406)  # of RGB values in 0..1; by default ImageNet's
    std: Channels = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        if not isinstance(self.image_size, int) or not 1 <= self.image_size <= 4096:
            raise ReproError(f"image_size must be a whole number from 1 to 4096, not {self.image_size!r}")
        if not 0 <= self.rotation <= 180:
            raise ReproError(f"rotation must be from 0 to 180 degrees, not {self.rotation!r}")
        if not 0 <= self.flip <= 1:
            raise ReproError(f"flip must be a probability from 0 to 1, not {self.flip!r}")
        in_range = all(0 <= m <= 1 for m in self.mean) and all(0 < s <= 1 for s in self.std)
        if len(self.mean) != 3 or len(self.std) != 3 or not in_range:
            raise ReproError(
                f"mean and std must be three numbers each, of values scaled to 0..1, not {self.mean} and {self.std}; "
                "divide numbers for 0..255 by 255"
            )

    def pixels(self, image: Image.Image, rng: np.random.Generator | None = None) -> np.ndarray:
        """RGB image -> uint8 (S, S, 3). `rng` draws the augmentation; None: evaluation, without augmentation."""
        image = image.resize((self.image_size, self.image_size), Image.Resampling.BILINEAR)
        return np.asarray(image if rng is None else self.augment(image, rng))

    def augment(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        if self.rotation:
            image = image.rotate(rng.uniform(-self.rotation, self.rotation))  # nearest pixel, as the frameworks do
        if self.flip and rng.random() < self.flip:
            image = ImageOps.mirror(image)
        return image

    def normalise(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 (N, S, S, 3) -> float32 (N, 3, S, S): values / 255, minus mean, divided by std."""
        mean, std = (np.array(values, np.float32).reshape(3, 1, 1) for values in (self.mean, self.std))
        images = np.divide(pixels.transpose(0, 3, 1, 2), np.float32(255), order="C")
        images -= mean
        images /= std
        return images
