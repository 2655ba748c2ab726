"""Mixing the images of a batch with each other, and their labels with them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from repro.errors import ReproError

MODES = ("batch", "pair", "elem")


@dataclass(frozen=True, kw_only=True)
class Mixing:
    """Mixup (Zhang et al., arXiv:1710.09412), CutMix (Yun et al., arXiv:1905.04899), or now one and now the other; as
    timm.data.mixup.Mixup with mixup_alpha, cutmix_alpha, prob, switch_prob and mode.

    Image i of N is mixed with image N - 1 - i. A draw of Beta(alpha, alpha) is the share that it keeps: of its values
    in mixup, of its area in CutMix, whose rectangle is cut off where it reaches over the border (the target has the
    share that is left). For odd N, which timm refuses, the image in the middle is mixed with itself: it stays as it is.

    Ours, because timm's draws from NumPy's global generator and works on tensors of one framework.
    """

    mixup: float = 0.0  # alpha; 0: no mixup
    cutmix: float = 0.0  # alpha; 0: no CutMix
    probability: float = 1.0  # of being mixed at all
    switch: float = 0.5  # probability of CutMix where there are both
    mode: str = "batch"  # what has draws of its own: the "batch", each "pair" of images, or each element ("elem")

    def __post_init__(self) -> None:
        for name in ("mixup", "cutmix"):
            if not 0 <= getattr(self, name) <= 1000:
                raise ReproError(f"{name} must be an alpha from 0 (off) to 1000, not {getattr(self, name)!r}")
        if not self.mixup and not self.cutmix:
            raise ReproError("mixup and cutmix are both 0, which mixes nothing; give one of them an alpha such as 0.8")
        for name in ("probability", "switch"):
            if not 0 <= getattr(self, name) <= 1:
                raise ReproError(f"{name} must be a probability from 0 to 1, not {getattr(self, name)!r}")
        if self.mode not in MODES:
            raise ReproError(f"mode must be one of {', '.join(MODES)}, not {self.mode!r}")

    def mix(
        self, images: np.ndarray, labels: np.ndarray, classes: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """float32 (N, C, H, W) and int64 (N,) -> as many images, and targets float32 (N, classes) that sum up to 1:
        one-hot where nothing was mixed."""
        count = len(images)
        share, cut, low, high = self._draw(images.shape, rng)
        own = np.zeros((count, classes), np.float32)
        own[np.arange(count), labels] = 1
        rest = 1 - share
        targets = share[:, None] * own + rest[:, None] * own[::-1]
        mixed = images.copy()
        for i, other in enumerate(images[::-1]):
            if cut[i]:
                part = np.s_[:, low[i, 0] : high[i, 0], low[i, 1] : high[i, 1]]
                mixed[i][part] = other[part]
            elif rest[i]:
                mixed[i] *= share[i]
                mixed[i] += other * rest[i]
        return mixed, targets

    def _draw(
        self, shape: tuple[int, ...], rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """For each image: the share that it keeps, float32 (N,); whether by CutMix, bool (N,); and the rectangle's
        corners, top and left, bottom and right, int64 (N, 2) each."""
        count, sides = shape[0], np.array(shape[2:])
        index = np.arange(count)
        of_image = {"batch": 0 * index, "pair": np.minimum(index, index[::-1]), "elem": index}[self.mode]
        draws = of_image.max() + 1
        cut = rng.random(draws) < (self.switch if self.mixup and self.cutmix else float(self.cutmix > 0))
        alpha = np.where(cut, self.cutmix, self.mixup)
        share = np.where(rng.random(draws) < self.probability, rng.beta(alpha, alpha), 1.0)
        centre = rng.integers(sides, size=(draws, 2))
        size = (sides * np.sqrt(1 - share)[:, None]).astype(np.int64)
        low = np.clip(centre - size // 2, 0, sides)
        high = np.clip(centre + (size + 1) // 2, 0, sides)
        share = np.where(cut, 1 - (high - low).prod(axis=1) / sides.prod(), share).astype(np.float32)
        return share[of_image], cut[of_image], low[of_image], high[of_image]
